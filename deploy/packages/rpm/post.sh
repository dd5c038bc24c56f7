systemd-tmpfiles --create apono-connector.conf
journalctl --update-catalog
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi

# Not where a newer version takes this one's place.
if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now apono-connector.service || :
fi

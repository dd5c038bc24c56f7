# connector.toml is unpacked for this group. (As in /usr/lib/sysusers.d/apono-connector.conf, which is not there yet.)
echo 'g apono-connector-secrets -' | systemd-sysusers --replace=/usr/lib/sysusers.d/apono-connector.conf -

/// Sources of imports. The addresses are those of documentation and of private networks.
enum ImportFixtures {
    /// Rules that ipvsd supports, as `ipvsadm -S -n` of version 1.31 prints them.
    static let rules = """
        -A -t 10.0.0.100:80 -s wlc -p 300 -M 255.255.255.0
        -a -t 10.0.0.100:80 -r 10.0.0.11:80 -i -w 3 --tun-type ipip
        -a -t 10.0.0.100:80 -r 10.0.0.12:80 -i -w 0 --tun-type ipip
        -A -t 10.0.0.100:443 -s sh -b sh-fallback,sh-port
        -a -t 10.0.0.100:443 -r 10.0.0.11:443 -i -w 1 --tun-type ipip
        -a -t 10.0.0.100:443 -r 10.0.0.12:443 -i -w 1 --tun-type ipip
        -A -t 10.0.0.101:0 -s rr -p 360
        -a -t 10.0.0.101:0 -r 10.0.0.11:0 -i -w 1 --tun-type ipip
        -A -u 10.0.0.100:53 -s mh -o -b mh-fallback,mh-port
        -a -u 10.0.0.100:53 -r 10.0.0.11:53 -i -w 2 --tun-type ipip
        -A -u 10.0.0.101:0 -s rr -p 360
        -a -u 10.0.0.101:0 -r 10.0.0.11:0 -i -w 1 --tun-type ipip

        """

    /// Rules that ipvsd changes or leaves out.
    static let foreignRules = """
        -A -t 10.0.0.100:80 -s wlc
        -a -t 10.0.0.100:80 -r 10.0.0.13:80 -g -w 1
        -a -t 10.0.0.100:80 -r 10.0.0.14:8080 -m -w 1
        -a -t 10.0.0.100:80 -r 10.0.0.15:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
        -a -t 10.0.0.100:80 -r [2001:db8::2]:80 -i -w 1 --tun-type ipip
        -a -t 10.0.0.100:80 -r 127.0.0.1:80 -m -w 1
        -A -t 10.0.0.100:5060 -s rr -p 9999 -M 255.0.255.0 --pe sip
        -a -t 10.0.0.100:5060 -r 10.0.0.11:5060 -i -w 70000 --tun-type ipip
        -A --sctp-service 10.0.0.100:5060 -s rr
        -A -t [2001:db8::1]:80 -s rr -p 360 -M 64
        -a -t [2001:db8::1]:80 -r [2001:db8::2]:80 -i -w 1 --tun-type ipip
        -A -f 3 -s rr
        -a -f 3 -r 10.0.0.11:0 -i -w 1 --tun-type ipip
        -A -f 4 -6 -s rr
        -A -t 10.0.0.102:80 -s wlib -b flag-1
        -a -t 10.0.0.102:80 -r 10.0.0.11:80 -i -w 1 --tun-type ipip
        -A -t 10.0.0.103:80 -s rr
        --start-daemon master --mcast-interface eth0

        """

    static let farm = """
        ! Web farm
        global_defs {
           router_id LVS_WEB
           lvs_timeouts tcp 1800 tcpfin 60 udp 120
        }
        $DELAY=6
        virtual_server_group WEB {
            10.0.0.100 80
            10.0.0.101-102 443   # two of them
        }
        virtual_server group WEB {
            delay_loop ${DELAY}
            lvs_sched wrr
            lvs_method TUN
            protocol TCP
            virtualhost www.example.org
            quorum 2
            hysteresis 1
            quorum_up "/usr/bin/logger -t lvs 'quorum up'"
            quorum_down "/usr/bin/logger -t lvs 'quorum down'"
            sorry_server 10.0.0.99 80
            inhibit_on_failure
            real_server 10.0.0.11 80 {
                weight 3
                notify_up "/usr/bin/logger up 10.0.0.11"
                notify_down "/usr/bin/logger down"
                HTTP_GET {
                    url { path /health
                        status_code 200 204 }
                    url {
                        path /login
                        regex "welcome +back"
                        regex_options caseless
                    }
                    connect_timeout 3
                    retry 2
                }
                MISC_CHECK {
                    misc_path "/usr/lib/lvs/load 10.0.0.11 -x '10.0.0.11:80'"
                    misc_timeout 4
                }
            }
            real_server 10.0.0.12 80
            {
                notify_up "/usr/bin/logger up 10.0.0.12"
                notify_down "/usr/bin/logger down"
                HTTP_GET {
                    url { path /health
                        status_code 200 204 }
                    url {
                        path /login
                        regex "welcome +back"
                        regex_options caseless
                    }
                    connect_timeout 3
                    retry 2
                }
                MISC_CHECK {
                    misc_path "/usr/lib/lvs/load 10.0.0.12 -x '10.0.0.12:80'"
                    misc_timeout 4
                }
            }
        }
        virtual_server 10.0.0.104 53 {
            lb_algo sh
            sh-port
            lb_kind TUN
            protocol UDP
            ops
            persistence_timeout 50
            persistence_granularity 255.255.0.0
            real_server 10.0.0.21 53 {
                uthreshold 1000
                lthreshold 800
                DNS_CHECK {
                    type A
                    name www.example.org
                }
                PING_CHECK { retry 4 }
            }
        }

        """

    static let foreignKeepalived = """
        global_defs {
            notification_email {
                root@example.org
            }
            smtp_server 192.0.2.1
            script_user nobody
            lvs_sync_daemon eth0 VI_1
            frobnicate 3
        }
        vrrp_instance VI_1 {
            state MASTER
            interface eth0
            virtual_ipaddress {
                10.0.0.100/24 dev eth0
            }
        }
        vrrp_script chk { script "killall -0 sshd" }
        SSL {
            key /etc/ssl/k.pem
        }
        virtual_server 10.0.0.100 80 {
            lvs_sched rr
            protocol TCP
            alpha
            omega
            ha_suspend
            smtp_alert
            unheard of
            real_server 10.0.0.11 8080 {
                TCP_CHECK {
                    connect_port 8080
                    bindto 10.0.0.2
                }
            }
            real_server 10.0.0.12 8080 {
                lvs_method DR
                TCP_CHECK { connect_port 8081 }
                BFD_CHECK { name x }
            }
            real_server 2001:db8::3 80 {
                TCP_CHECK { connect_port 8080 }
            }
        }
        virtual_server fwmark 7 {
            lvs_method TUN
            real_server 10.0.0.11 { }
        }
        virtual_server 2001:db8::1 80 {
            protocol TCP
            real_server 2001:db8::2 80 { }
        }

        """

    static let all = [rules, foreignRules, farm, foreignKeepalived]
}

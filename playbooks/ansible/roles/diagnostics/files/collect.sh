#!/bin/sh
# Write what explains the state of this host to one archive, and print its path.
#   collect.sh journal|supervisor SERVICES [SUPERVISORCTL...]     SERVICES: separated by commas
# A tool that is missing or fails leaves its own message in its file; the rest goes on.
set -eu
umask 077
manager=$1 services=$2
shift 2
directory=$(mktemp -d)
trap 'rm -rf "$directory/diagnostics"' EXIT
mkdir "$directory/diagnostics"

ask() {
  name=$1
  shift
  "$@" >"$directory/diagnostics/$name.txt" 2>&1 || echo "(exit code $?)" >>"$directory/diagnostics/$name.txt"
}

ask system uname -a
ask uptime uptime
ask memory cat /proc/meminfo
ask pressure grep . /proc/pressure/cpu /proc/pressure/memory /proc/pressure/io
ask filesystems df -P
ask inodes df -Pi
ask processes ps -eo pid,ppid,user,stat,etimes,pcpu,pmem,rss,comm --sort=-pcpu
ask sockets ss -tuna
ask addresses ip -brief address
ask routes ip route
for service in $(echo "$services" | tr , ' '); do
  case $manager in
    supervisor) ask "log-$service" "$@" tail -65536 "$service" ;;
    *) ask "log-$service" journalctl --unit "$service" --lines 2000 --no-pager ;;
  esac
done

tar -czf "$directory/diagnostics.tar.gz" -C "$directory" diagnostics
echo "$directory/diagnostics.tar.gz"

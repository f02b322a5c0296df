# supervise runs Postgres until standard input ends. The parent holds the other end of
# standard input, so that this ends with the parent, however the parent dies. The script
# that follows sets dir, a folder for our files, and defines serve, which becomes
# Postgres.
#
# Reads the lines "restart" and "stop". Writes one line per event: "started N",
# "exited N CODE". After Postgres ended by itself it waits, so that its log can be read.

trap '' PIPE # the parent may be gone when we tell it something
trap 'exit 1' HUP INT TERM
job='' starts=0

start() {
	starts=$((starts + 1))
	rm -f "$dir/pid" "$dir/ended"
	( # reports the exit while the shell above is blocked in read
		serve "$@" </dev/null &
		echo $! >"$dir/pid"
		wait $!
		code=$?
		: >"$dir/ended"
		echo "exited $starts $code"
	) &
	job=$!
	echo "started $starts"
}

# Repeats the signal because Postgres ignores it until it has set its handler; another
# SIGINT during a fast shutdown changes nothing. Gives up politeness after some ten
# seconds.
stop() {
	[ "$job" ] || return 0
	tries=0
	while [ ! -e "$dir/ended" ]; do
		if [ -s "$dir/pid" ]; then
			read -r pid <"$dir/pid"
			signal=INT
			[ $tries -gt 400 ] && signal=QUIT
			[ $tries -gt 600 ] && signal=KILL
			kill -s $signal "$pid" 2>/dev/null || break
			tries=$((tries + 1))
		fi
		sleep 0.02 2>/dev/null || sleep 1
	done
	wait "$job"
	job=''
}

obey() {
	while read -r line; do
		case $line in
		restart) stop && start "$@" ;;
		stop) break ;;
		esac
	done
}


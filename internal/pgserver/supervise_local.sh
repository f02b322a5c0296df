# Arguments: BIN NAME COUNT BASE... [ARGUMENT...]
#
# Runs the Postgres of BIN in a new folder NAME in the first of COUNT folders that
# lets it, and removes the folder. Writes "dir PATH", and "failed WHAT" when it doesn't
# come to a start.

bin=$1 name=$2 count=$3 dir=''
finish() {
	stop
	[ -z "$dir" ] || rm -rf "$dir" || { sleep 1; rm -rf "$dir"; }
}
trap finish EXIT

shift 3
while [ "$count" -gt 0 ]; do
	[ "$dir" ] || { mkdir -m 700 "$1/$name" && dir=$1/$name; }
	shift
	count=$((count - 1))
done
if [ -z "$dir" ]; then
	echo "failed making a temporary folder"
	exit 1
fi
echo "dir $dir"

serve() { exec "$bin/postgres" -D "$dir/data" -k "$dir" "$@" >>"$dir/log" 2>&1; }

if "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync </dev/null >"$dir/log" 2>&1; then
	: >"$dir/log"
	start "$@"
else
	echo "failed initdb"
fi
obey "$@"
exit 0

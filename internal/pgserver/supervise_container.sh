# The first process of a container of the official image: everything ends with it, and
# the data isn't kept, so nothing needs an orderly end. Standard output is ours alone,
# because only that is read; what Postgres writes goes to the container's log.

dir=/tmp/pgserver
mkdir -p "$dir"
serve() { exec docker-entrypoint.sh postgres "$@" >&2; }
start "$@"
obey "$@"
exit 0

# Stops a server and deletes its folder when nobody has held its lock for a while.
# $1: the folder; $2: pg_ctl; $3: for how many seconds nobody must have come
folder=$1 pg_ctl=$2 linger=$3
exec 9<"$folder/held" || exit 0
while :; do
    flock 9
    before=$(wc -c <"$folder/uses")
    flock -u 9
    sleep "$linger"
    # Whoever came and went meanwhile may come again.
    flock -n 9 || continue
    [ "$(wc -c <"$folder/uses")" = "$before" ] && break
    flock -u 9
done
"$pg_ctl" stop -D "$folder/data" -m immediate -w >/dev/null 2>&1
rm -rf "$folder"

# Outlives the process that started it and tidies up after it. Reads lines from that process; the end of its
# input means that the process is gone, however it went. Every line is answered, so that the other side knows
# when it may rely on it.
#   watch PGID     end this process group
#   forget PGID    it has ended
#   clean COMMAND  run this after the groups have ended; the last one named runs first
#   grace N        tenths of a second between TERM and KILL
trap '' HUP INT QUIT TERM PIPE
groups=
cleanups=0
grace=20
while IFS= read -r line; do
    rest=${line#* }
    case $line in
    "watch "*) groups="$groups $rest" ;;
    "forget "*)
        kept=
        for group in $groups; do
            [ "$group" = "$rest" ] || kept="$kept $group"
        done
        groups=$kept
        ;;
    "clean "*)
        cleanups=$((cleanups + 1))
        eval "cleanup_$cleanups=\$rest"
        ;;
    "grace "*) grace=$rest ;;
    esac
    echo ok
done 2>/dev/null

signal() {
    for group in $groups; do
        kill -s "$1" -- "-$group"
    done 2>/dev/null
}
alive() {
    for group in $groups; do
        kill -s 0 -- "-$group" 2>/dev/null && return 0
    done
    return 1
}
await_end() {
    tenths=$1
    while alive && [ "$tenths" -gt 0 ]; do
        sleep 0.1
        tenths=$((tenths - 1))
    done
}

if alive; then
    signal TERM
    signal CONT # a stopped process sees TERM only when it goes on
    await_end "$grace"
    signal KILL
    await_end 20
fi
while [ "$cleanups" -gt 0 ]; do
    eval "command=\$cleanup_$cleanups"
    (eval "$command") </dev/null >/dev/null 2>&1
    cleanups=$((cleanups - 1))
done

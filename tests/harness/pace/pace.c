/* Time that passes faster for one program: loaded in front of the C library, which is asked for the time and for waiting.
 * EVENKEEL_PACE: how many seconds pass in one. EVENKEEL_PACE_SINCE: when that began, nanoseconds since 1970. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_wait)(int, struct epoll_event *, int, int);
static long long pace = 1, real_zero, monotonic_zero;

static long long nanoseconds(const struct timespec *time) {
    return (long long)time->tv_sec * 1000000000LL + time->tv_nsec;
}

__attribute__((constructor)) static void begin(void) {
    struct timespec now;
    if (real_gettime)
        return;
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_wait = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    const char *text = getenv("EVENKEEL_PACE"), *since = getenv("EVENKEEL_PACE_SINCE");
    if (text && atoll(text) > 0)
        pace = atoll(text);
    real_gettime(CLOCK_REALTIME, &now);
    real_zero = since ? atoll(since) : nanoseconds(&now);
    real_gettime(CLOCK_MONOTONIC, &now);
    monotonic_zero = nanoseconds(&now);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    begin();
    int failed = real_gettime(clock, time);
    long long zero;
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        zero = real_zero;
        break;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        zero = monotonic_zero;
        break;
    default:
        /* What a process has used of the processors is not to grow. */
        return failed;
    }
    if (!failed) {
        long long then = zero + (nanoseconds(time) - zero) * pace;
        time->tv_sec = then / 1000000000LL;
        time->tv_nsec = then % 1000000000LL;
    }
    return failed;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    begin();
    /* Rounded up: who wakes too early has to wait once more. */
    return real_wait(epoll, events, most, timeout > 0 ? (int)((timeout + pace - 1) / pace) : timeout);
}

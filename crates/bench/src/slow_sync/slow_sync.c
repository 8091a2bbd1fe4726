/* Makes each fsync and fdatasync of a program take longer by a set number of microseconds, as if its disk
 * were slower: LD_PRELOAD=slow_sync.so STEADFAST_BENCH_SYNC_DELAY_US=1000 program */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static void delay(void) {
    const char *text = getenv("STEADFAST_BENCH_SYNC_DELAY_US");
    long us = text ? atol(text) : 0;
    struct timespec rest = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    /* The kernel adds up to 50 us of slack to a thread's sleeps unless told otherwise. */
    prctl(PR_SET_TIMERSLACK, 1);
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
    prctl(PR_SET_TIMERSLACK, 0);
}

static int slowly(const char *name, int file) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    delay();
    return sync(file);
}

int fsync(int file) { return slowly("fsync", file); }

int fdatasync(int file) { return slowly("fdatasync", file); }

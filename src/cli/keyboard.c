/* SPDX-License-Identifier: MIT
 *
 * keyboard.c: bytes and signals of the person at standard input.
 *
 * Handlers do nothing but note the signal and write a byte into a pipe that the reader waits on beside its input: a
 * signal may arrive on a worker thread, where it would interrupt nothing.
 */
#include "cli/keyboard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

#include "base/mem.h"
#include "smelt.h"

static volatile sig_atomic_t interrupts, resized, suspended, ending;
static int wake[2] = {-1, -1};
static struct sigaction old_int;

static const int watched[] = {SIGWINCH, SIGTSTP, SIGTERM, SIGHUP, SIGQUIT};
static struct sigaction old[SM_ARRAY_LEN(watched)];

static unsigned char buf[4096];
static size_t at, filled;

static void poke(void) {
    int e = errno;
    (void)!write(wake[1], "", 1);
    errno = e;
}

static void on_interrupt(int sig) {
    static const char hint[] = "\nstopping; Ctrl-C once more leaves at once\n";
    interrupts = interrupts + 1;
    smelt_cancel(true);
    if (interrupts == 2)
        (void)!write(STDERR_FILENO, hint, sizeof hint - 1);
    if (interrupts > 2) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
    poke();
}

static void on_signal(int sig) {
    if (sig == SIGWINCH)
        resized = 1;
    else if (sig == SIGTSTP)
        suspended = 1;
    else
        ending = sig;
    poke();
}

static void set_handler(int sig, void (*fn)(int), struct sigaction *before) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = fn;
    sigemptyset(&a.sa_mask);
    a.sa_flags = SA_RESTART;
    sigaction(sig, &a, before);
}

void keyboard_catch(void) {
    if (wake[0] < 0 && pipe(wake) == 0)
        for (int i = 0; i < 2; i++) {
            fcntl(wake[i], F_SETFL, O_NONBLOCK);
            fcntl(wake[i], F_SETFD, FD_CLOEXEC);
        }
    set_handler(SIGINT, on_interrupt, &old_int);
}

void keyboard_release(void) {
    sigaction(SIGINT, &old_int, NULL);
    keyboard_forget();
}

void keyboard_forget(void) {
    interrupts = 0;
    smelt_cancel(false);
}

void keyboard_open(void) {
    resized = suspended = ending = 0;
    for (size_t i = 0; i < SM_ARRAY_LEN(watched); i++)
        set_handler(watched[i], on_signal, &old[i]);
}

void keyboard_close(void) {
    for (size_t i = 0; i < SM_ARRAY_LEN(watched); i++)
        sigaction(watched[i], &old[i], NULL);
    if (ending) {
        signal(ending, SIG_DFL);
        raise(ending);
    }
}

void keyboard_suspend(void) {
    raise(SIGSTOP);
}

static bool take(volatile sig_atomic_t *flag) {
    bool set = *flag != 0;
    *flag = 0;
    return set;
}

/* Waits until there is input or a signal; false: neither can come any more. */
static bool wait_for_any(void) {
    char drop[64];
    fd_set set;
    FD_ZERO(&set);
    FD_SET(STDIN_FILENO, &set);
    if (wake[0] >= 0)
        FD_SET(wake[0], &set);
    int n = select(SM_MAX(wake[0], STDIN_FILENO) + 1, &set, NULL, NULL, NULL);
    if (n < 0)
        return errno == EINTR;
    if (wake[0] >= 0 && FD_ISSET(wake[0], &set))
        while (read(wake[0], drop, sizeof drop) > 0) {
        }
    if (!FD_ISSET(STDIN_FILENO, &set))
        return true;
    ssize_t k = read(STDIN_FILENO, buf, sizeof buf);
    at = 0;
    filled = k > 0 ? (size_t)k : 0;
    return k > 0 || (k < 0 && (errno == EINTR || errno == EAGAIN));
}

key_event keyboard_byte(unsigned char *b) {
    for (;;) {
        if (ending)
            return KEY_QUIT;
        if (interrupts) {
            keyboard_forget();
            at = filled = 0; /* what was typed ahead was meant for what is being stopped */
            return KEY_INTERRUPT;
        }
        if (take(&suspended))
            return KEY_SUSPEND;
        if (take(&resized))
            return KEY_RESIZE;
        if (at < filled) {
            *b = buf[at++];
            return KEY_BYTE;
        }
        if (!wait_for_any())
            return KEY_EOF;
    }
}

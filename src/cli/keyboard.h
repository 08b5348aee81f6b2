/* SPDX-License-Identifier: MIT
 *
 * keyboard.h: standard input byte by byte, and the signals of the person at it.
 *
 * Ctrl-C asks running work to stop (smelt_cancel) whenever it comes, as long as keyboard_catch holds.  Between
 * keyboard_open and keyboard_close also window size, suspension and the signals that end the program are events, so that
 * an editor can put the terminal in order first.
 *
 * One per process.  Threads: one; the handlers may run on any.
 */
#ifndef SM_KEYBOARD_H
#define SM_KEYBOARD_H

#include <stdbool.h>

typedef enum key_event {
    KEY_BYTE,
    KEY_EOF,
    KEY_INTERRUPT, /* Ctrl-C */
    KEY_RESIZE,    /* the terminal's size changed */
    KEY_SUSPEND,   /* Ctrl-Z: restore the terminal and call keyboard_suspend */
    KEY_QUIT,      /* the program is to end: restore the terminal and call keyboard_close */
} key_event;

/* Ctrl-C becomes a request: the first stops what runs, the second says how to leave, the third ends the program. */
void keyboard_catch(void);
void keyboard_release(void); /* back to what it was */
void keyboard_forget(void);  /* requests to stop so far are withdrawn */

void keyboard_open(void);
/* Signals are again what they were; one that was to end the program does so now. */
void keyboard_close(void);
key_event keyboard_byte(unsigned char *b);
/* Stops this process as Ctrl-Z does; returns when it is continued. */
void keyboard_suspend(void);

#endif

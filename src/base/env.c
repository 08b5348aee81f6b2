/* SPDX-License-Identifier: MIT
 *
 * env.c: the variables that all programs share.  A variable that is set but empty counts as not set.
 */
#include "base/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

static const char *value(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

const char *sm_env_home(void) {
    return value("HOME");
}

/* Makes every folder of an absolute path. */
static bool make_folders(char *path) {
    for (char *p = path + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char c = *p;
        *p = '\0';
        bool ok = mkdir(path, 0700) == 0 || errno == EEXIST;
        *p = c;
        if (!ok)
            return false;
        if (!c)
            return true;
    }
}

char *sm_env_state_file(const char *name) {
    const char *state = value("XDG_STATE_HOME"), *home = sm_env_home();
    char *base = NULL, *dir = NULL, *path = NULL;
    if (state && state[0] == '/') /* the specification: a relative one is to be ignored */
        base = sm_path_join(state, "");
    else if (home && home[0] == '/')
        base = sm_path_join(home, ".local/state");
    if (base)
        dir = sm_path_join(base, "smelt");
    if (dir && make_folders(dir))
        path = sm_path_join(dir, name);
    sm_free(base);
    sm_free(dir);
    return path;
}

bool sm_env_plain_terminal(void) {
    const char *term = value("TERM");
    return !term || strcmp(term, "dumb") == 0;
}

bool sm_env_colours(int fd) {
    return isatty(fd) && !sm_env_plain_terminal() && !value("NO_COLOR");
}

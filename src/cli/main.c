/* SPDX-License-Identifier: MIT
 *
 * main.c: the program's entry.  Prints the version; commands are read here.
 */
#include <stdio.h>

int main(void) {
    printf("smelt %s\n", SMELT_VERSION);
    return 0;
}

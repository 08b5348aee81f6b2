/* SPDX-License-Identifier: MIT
 *
 * number.h: numbers as text, with a point whatever the locale.
 *
 * printf and strtod write and read the decimal sign of the locale, which a program that calls smelt may have set to one
 * with a comma.  What smelt writes (JSON, graphs, templates' numbers, messages) and reads (defaults of ops, metadata)
 * has points.  So nothing in the library formats or reads a float but through these; the program leaves LC_NUMERIC as
 * it is.
 *
 * Errors: as the functions of the C library.  Threads: any.  The caller's locale is as before on return.
 */
#ifndef SM_NUMBER_H
#define SM_NUMBER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

int sm_vsnprintf(char *out, size_t cap, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));
int sm_snprintf(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
double sm_strtod(const char *text, char **end);
float sm_strtof(const char *text, char **end);
/* The whole number that a name ends in, of at most 9 digits ("logits12": 12); -1: none.  *stem, when not NULL: length of
 * what stands before it. */
int64_t sm_number_behind(const char *name, size_t *stem);

#endif

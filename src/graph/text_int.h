/* SPDX-License-Identifier: MIT
 *
 * text_int.h: what the text form's printer and parser agree on (docs/text-form is the grammar).
 */
#ifndef SM_TEXT_INT_H
#define SM_TEXT_INT_H

#include "graph/graph_int.h"

enum { SM_TYPE_TEXT = 4608 }; /* holds the text of any type */

/* Characters of names: letters, digits, and _ . @ :  Others stand between backquotes. */
bool sm_text_word_char(char c);
/* A name that is a word and means nothing else. */
bool sm_text_plain_name(sm_sv name);
/* v as the nearest value of float type t. */
double sm_text_round(sm_dtype t, double v);
/* "ios18"; "rows" for 0. */
const char *sm_text_opset(int opset, char *out, size_t cap);
bool sm_text_opset_of(sm_sv name, int *opset);

#endif

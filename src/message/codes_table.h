/* The rows behind codes.h; for codes.c alone. */
#ifndef VEREDUS_MESSAGE_CODES_TABLE_H
#define VEREDUS_MESSAGE_CODES_TABLE_H

#include "message/codes.h"

extern const struct codes_words codes_rows[];
extern const size_t codes_row_count;

#endif

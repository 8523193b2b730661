/* Between charset.c, which converts, and charset_table.c, which knows the names. */
#ifndef VEREDUS_MESSAGE_CHARSET_PRIVATE_H
#define VEREDUS_MESSAGE_CHARSET_PRIVATE_H

#include "base/str.h"

/* The first ones are converted without iconv. */
enum { CHARSET_US_ASCII, CHARSET_UTF8, CHARSET_WINDOWS_1252, CHARSET_BUILT_IN, CHARSET_COUNT = 57 };

/* What iconv_open calls it. */
const char *charset_iconv_name(int charset);
/* By name or alias; -1 if it is not in the table. */
int charset_lookup(struct str name);

#endif

/*
 * Message data as it comes behind DATA: dots removed, line ends checked (RFC 5321, sections 2.3.8, 4.1.1.4, 4.5.2).
 * Only CRLF ends a line and only CRLF "." CRLF ends the data. Pure.
 */
#ifndef VEREDUS_SMTP_DATA_H
#define VEREDUS_SMTP_DATA_H

#include "base/buf.h"

enum data_fault {
    DATA_GOOD,
    DATA_BARE_CR,
    DATA_BARE_LF,
    DATA_NUL,
    DATA_TOO_LARGE, /* beyond the buffer's limit */
    DATA_NO_MEMORY
};

struct data_reader {
    uint8_t state;
    bool repair;           /* bare CR and LF become CRLF instead of a fault */
    bool over;             /* the end has been seen */
    enum data_fault fault; /* the first one; the rest of the data is read and thrown away */
    uint64_t octets;       /* received so far, whether kept or not */
};

/* Takes bytes from the front of *input until they are used up or the data is over; appends what is kept to `body`. */
void data_read(struct data_reader *reader, struct str *input, struct buf *body);
/* The first fault in text that came without dots (BDAT): bare CR, bare LF or NUL. */
enum data_fault data_check(struct str text);
/* The length of the run at the beginning of `text` without CR, LF and NUL. */
size_t data_plain_run(struct str text);

#endif

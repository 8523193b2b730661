/*
 * Which port speaks what, and what a client speaks that has come to the wrong one; so that the reply, and the log, name the
 * right port and mode. Pure.
 */
#ifndef VEREDUS_CONFIG_DOORS_H
#define VEREDUS_CONFIG_DOORS_H

#include "config/config.h"

enum door { DOOR_NONE, DOOR_SMTP, DOOR_IMAP, DOOR_POP3, DOOR_HTTP };

/* Ports of the first listener of each kind; 0: there is none. */
struct doors {
    unsigned submission;  /* STARTTLS */
    unsigned submissions; /* TLS from the first byte */
    unsigned imap;
    unsigned imaps;
    unsigned pop3;
    unsigned pop3s;
};

struct doors doors_of(const struct config *config);

/* What a client speaks whose first line this is; DOOR_NONE where that cannot be told. */
enum door door_of_line(struct str line);
/* Whether these are the first octets of a TLS handshake. */
bool door_is_tls(struct str octets);

/* Appends "port 143 with STARTTLS or port 993 with TLS from the first byte". */
void doors_append(const struct doors *doors, enum door door, struct buf *out);
/* Appends what a client is told that speaks something else on a port for `here`: "This port speaks ...". */
void doors_append_wrong(const struct doors *doors, enum door here, enum door spoken, struct buf *out);
/* The same for TLS on a port that begins in clear, and for text in clear on a port that begins with TLS. */
void doors_append_tls(const struct doors *doors, enum door here, struct buf *out);
void doors_append_clear(const struct doors *doors, enum door here, struct buf *out);

#endif

/*
 * Reading a DNS answer packet (RFC 1035, section 4): the records of one type at the end of the CNAME chain that
 * begins at the question. Pure; the packet is hostile; every loop is bounded.
 */
#ifndef VEREDUS_DNS_ANSWER_H
#define VEREDUS_DNS_ANSWER_H

#include "base/str.h"

enum { DNS_TYPE_A = 1, DNS_TYPE_CNAME = 5, DNS_TYPE_PTR = 12, DNS_TYPE_MX = 15, DNS_TYPE_AAAA = 28 };
enum { DNS_NAME_MAX = 255, DNS_RECORDS_MAX = 32 };

/* One record's data, by type: MX preference and name; PTR name; A and AAAA address. */
struct dns_record {
    uint16_t preference;
    uint8_t address_len; /* 4 or 16 */
    uint8_t name_len;    /* 0 for the root, as in a null MX (RFC 7505) */
    unsigned char address[16];
    char name[DNS_NAME_MAX]; /* lower case, without the last dot */
};

struct dns_answer {
    size_t count;
    bool truncated; /* there were more than DNS_RECORDS_MAX */
    bool was_alias; /* a CNAME was followed */
    struct dns_record records[DNS_RECORDS_MAX];
};

/*
 * Fills `answer` with the records of `type`. Names that cannot be host names (other than letters, digits, hyphen,
 * underscore) are left out. False if the packet is malformed.
 */
bool dns_answer_read(struct str packet, uint16_t type, struct dns_answer *answer);

/*
 * The name for a PTR query of a 4- or 16-byte address (RFC 1035, section 3.5; RFC 3596, section 2.5). `out` has room
 * for 80 bytes. Returns the length.
 */
size_t dns_reverse_name(struct str address, char *out);

#endif

/* The stored form of a summary, for summary.c, which writes it, and summary_decode.c, which reads it. */
#ifndef VEREDUS_MESSAGE_SUMMARY_PRIVATE_H
#define VEREDUS_MESSAGE_SUMMARY_PRIVATE_H

#include "message/summary.h"

/*
 * Little-endian: version (1), flags (1), which texts are there (2), size of the message (8), sent date (8), zone (2, signed),
 * number of parts (2), lengths of the texts (4 each), the texts, the parts.
 */
enum {
    SUMMARY_HEAD_SIZE = 24 + 4 * SUMMARY_TEXT_COUNT,
    SUMMARY_FLAG_DATE = 1,
    SUMMARY_FLAG_REPLY = 2,
    /* kind (1), encoding (1), parent (2), number (4), header at and length, body at and length (8 each) */
    SUMMARY_PART_SIZE = 40,
    SUMMARY_NO_PARENT = 0xffff,
    SUMMARY_ZONE_MAX = 24 * 60
};

#endif

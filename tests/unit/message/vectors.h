/* Test material of others, in ../shared/vectors beside the repository; the tests say so and skip where it is missing. */
#ifndef VEREDUS_TESTS_MESSAGE_VECTORS_H
#define VEREDUS_TESTS_MESSAGE_VECTORS_H

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <jansson.h>

/* Takes the folder from the command line; ends the program as skipped if it is not there. */
void vectors_begin(int argc, char **argv);
/* The content of a file below the folder; false if there is none. Free the buffer. */
bool vectors_read(const char *name, struct buf *content);
/* A JSON file below the folder; NULL if there is none. Give it back with json_decref. */
json_t *vectors_json(const char *name);
/* A string member as a slice; empty if it is missing or null. */
struct str vectors_string(const json_t *object, const char *key);
/* Fails the test with both texts printed if they differ. */
#define assert_str(actual, expected) vectors_assert_str((actual), (expected), __FILE__, __LINE__)
void vectors_assert_str(struct str actual, struct str expected, const char *file, int line);
/* CRLF becomes a bare line feed, or the other way round. */
void vectors_to_lf(struct str text, struct buf *out);
void vectors_to_crlf(struct str text, struct buf *out);

#endif

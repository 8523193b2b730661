/*
 * The readable text of a message as UTF-8, for search and PREVIEW (RFC 8970): transfer encoding and charset decoded, HTML
 * stripped. Streamed to a sink in pieces of whole characters, so memory is bounded whatever the size.
 */
#ifndef VEREDUS_MESSAGE_MAILTEXT_H
#define VEREDUS_MESSAGE_MAILTEXT_H

#include "message/mime.h"

/* Takes a piece of text; false ends the stream early. */
struct mailtext_sink {
    bool (*take)(void *context, struct str text);
    void *context;
};

enum mailtext_result {
    MAILTEXT_DONE,
    MAILTEXT_STOPPED, /* by the sink */
    MAILTEXT_NO_MEMORY
};

/* The text of one part of kind MIME_TEXT; nothing for others. */
enum mailtext_result mailtext_part(const struct mime_part *part, const struct mailtext_sink *sink);
/*
 * What a SEARCH BODY looks at: all text parts in order, and the headers of messages inside, with a line break between them.
 */
enum mailtext_result mailtext_body(const struct mime *mime, const struct mailtext_sink *sink);
/* The fields of a header, decoded and unfolded, a line each: what SEARCH TEXT has before the body. */
enum mailtext_result mailtext_header(struct str header, const struct mailtext_sink *sink);

enum { MAILTEXT_PREVIEW_MAX = 200 }; /* characters */

/*
 * Appends the beginning of the readable text on one line, quoted lines left out unless there are only such; nothing if there
 * is no text. False if memory or `out` failed.
 */
bool mailtext_append_preview(const struct mime *mime, struct buf *out);

#endif

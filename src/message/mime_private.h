/* Between mime.c, which finds the parts, and mime_content.c, which reads their Content- fields. */
#ifndef VEREDUS_MESSAGE_MIME_PRIVATE_H
#define VEREDUS_MESSAGE_MIME_PRIVATE_H

#include "message/mime.h"

/* Takes note of one field (with its continuation lines) of the part's header. */
void mime_content_field(struct mime_part *part, struct str whole);
/* After the last field: the part's type, kind and encoding; `in_digest` if its parent is multipart/digest. */
void mime_content_decide(struct mime_part *part, bool in_digest);
/* Makes it a leaf of application/octet-stream, or of text/plain. */
void mime_content_set_opaque(struct mime_part *part);
void mime_content_set_plain(struct mime_part *part);

#endif

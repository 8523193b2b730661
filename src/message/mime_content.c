/* The Content- fields of a part; see mime_private.h. */
#include "message/mime.h"
#include "message/mime_private.h"
#include "message/parameter.h"
#include "message/token.h"

/* The slices are kept where the field's value belongs; "type" holds all of Content-Type until the header has been read. */
static struct str *slot_of(struct mime_part *part, struct str name)
{
    switch (name.len) { /* of what follows "Content-" */
    case 2: return str_equal_nocase(name, STR("id")) ? &part->id : NULL;
    case 3: return str_equal_nocase(name, STR("md5")) ? &part->md5 : NULL;
    case 4: return str_equal_nocase(name, STR("type")) ? &part->type : NULL;
    case 8:
        return str_equal_nocase(name, STR("language"))   ? &part->language
               : str_equal_nocase(name, STR("location")) ? &part->location
                                                         : NULL;
    case 11:
        return str_equal_nocase(name, STR("description"))   ? &part->description
               : str_equal_nocase(name, STR("disposition")) ? &part->disposition
                                                            : NULL;
    case 17: return str_equal_nocase(name, STR("transfer-encoding")) ? &part->encoding_name : NULL;
    default: return NULL;
    }
}

void mime_content_field(struct mime_part *part, struct str whole)
{
    if (whole.len < 11 || ascii_lower(whole.data[0]) != 'c' || !str_starts_nocase(whole, STR("content-"))) {
        return;
    }
    size_t colon = str_find(str_sub(whole, 0, 64), 8, ':');
    if (colon == SIZE_MAX) {
        return;
    }
    struct str *slot = slot_of(part, str_trim(str_sub(whole, 8, colon)));
    if (slot != NULL && slot->len == 0) { /* of several the first */
        *slot = token_trim(str_sub(whole, colon + 1, colon + 1 + MIME_FIELD_MAX));
    }
}

/* A word that ends at a blank, a comment or one of "/;" (the subtype only at ";"). */
static struct str take_word(struct str text, size_t *at, bool slash_ends)
{
    size_t start = *at = token_skip_blank(text, *at);
    size_t i = start;
    while (i < text.len && text.data[i] != ';' && text.data[i] != '(' && !token_is_blank(text.data[i]) &&
           !(slash_ends && text.data[i] == '/')) {
        i++;
    }
    *at = token_skip_blank(text, i);
    return str_sub(text, start, i);
}

static bool read_type(struct mime_part *part)
{
    struct str text = part->type;
    size_t at = 0;
    struct str type = take_word(text, &at, true);
    struct str subtype = STR_EMPTY;
    if (at < text.len && text.data[at] == '/') {
        at++;
        subtype = take_word(text, &at, false);
    }
    if (type.len == 0) {
        return false;
    }
    if (subtype.len == 0) {
        if (str_equal_nocase(type, STR("text"))) {
            subtype = STR("plain");
        } else if (str_equal_nocase(type, STR("multipart"))) {
            subtype = STR("mixed");
        } else { /* RFC 2045, section 5.2: no type that anybody could know */
            type = STR("text");
            subtype = STR("plain");
        }
    }
    part->type = type;
    part->subtype = subtype;
    part->parameters = str_from(text, at);
    return true;
}

static enum mime_kind kind_of(const struct mime_part *part)
{
    if (str_equal_nocase(part->type, STR("text"))) {
        return MIME_TEXT;
    }
    if (str_equal_nocase(part->type, STR("multipart"))) {
        return MIME_MULTIPART;
    }
    if (str_equal_nocase(part->type, STR("message")) &&
        (str_equal_nocase(part->subtype, STR("rfc822")) || str_equal_nocase(part->subtype, STR("global")))) {
        return MIME_MESSAGE;
    }
    return MIME_LEAF;
}

void mime_content_set_opaque(struct mime_part *part)
{
    part->kind = MIME_LEAF;
    part->type = STR("application");
    part->subtype = STR("octet-stream");
    part->parameters = STR_EMPTY;
}

void mime_content_set_plain(struct mime_part *part)
{
    part->kind = MIME_TEXT;
    part->type = STR("text");
    part->subtype = STR("plain");
    part->parameters = STR_EMPTY;
}

void mime_content_decide(struct mime_part *part, bool in_digest)
{
    size_t at = 0;
    part->encoding_name = take_word(part->encoding_name, &at, false);
    part->encoding = transfer_encoding_of(part->encoding_name);
    if (part->type.len > 0 && read_type(part)) {
        part->kind = kind_of(part);
    } else if (in_digest) { /* RFC 2046, section 5.1.5 */
        part->kind = MIME_MESSAGE;
        part->type = STR("message");
        part->subtype = STR("rfc822");
    } else {
        mime_content_set_plain(part);
    }
    if (part->kind == MIME_MESSAGE && !transfer_is_identity(part->encoding)) {
        mime_content_set_opaque(
            part); /* RFC 2046, section 5.2.1, forbids it: the message inside has no bytes here */
    }
}

struct str mime_charset(const struct mime_part *part)
{
    struct parameter parameter;
    size_t at = 0;
    while (parameter_next(part->parameters, &at, &parameter)) {
        if (str_equal_nocase(parameter.name, STR("charset"))) {
            struct str name = token_trim(parameter.value);
            size_t end = str_find(name, 0, ';'); /* "iso-8859-15; format=flowed" in quotes */
            return str_sub(name, 0, end == SIZE_MAX ? name.len : end);
        }
    }
    return STR("us-ascii");
}

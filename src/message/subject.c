/*
 * The base subject; see subject.h.
 *
 * The procedure of RFC 5256 on a slice that only shrinks. Its steps 3 to 5 say to try the leaders again behind every blob
 * that was cut; as leaders may have blobs before them, a run of blobs that no "re:" follows is known to hold none, and is
 * cut in one go: so the cost stays linear.
 */
#include "message/subject.h"

#include "message/encoded_word.h"

static void skip_spaces(struct str *text)
{
    while (text->len > 0 && (text->data[0] == ' ' || text->data[0] == '\t')) {
        *text = str_from(*text, 1);
    }
}

/* (2) of the procedure: "(fwd)" and blanks at the end. */
static bool cut_trailers(struct str *text)
{
    bool cut = false;
    while (text->len > 0) {
        char last = text->data[text->len - 1];
        if (last == ' ' || last == '\t') {
            text->len--;
        } else if (str_ends_nocase(*text, STR("(fwd)"))) {
            text->len -= 5;
            cut = true;
        } else {
            break;
        }
    }
    return cut;
}

/* The length of a subj-blob at the beginning: "[...]" without brackets inside, and blanks; 0 if there is none. */
static size_t blob_length(struct str text)
{
    if (text.len == 0 || text.data[0] != '[') {
        return 0;
    }
    size_t i = 1;
    while (i < text.len && text.data[i] != ']' && text.data[i] != '[') {
        i++;
    }
    if (i == text.len || text.data[i] == '[') {
        return 0;
    }
    i++;
    while (i < text.len && (text.data[i] == ' ' || text.data[i] == '\t')) {
        i++;
    }
    return i;
}

/* The length of a subj-refwd: "re", "fw" or "fwd", blanks, perhaps a blob, a colon; 0 if there is none. */
static size_t refwd_length(struct str text)
{
    size_t i = str_starts_nocase(text, STR("fwd"))  ? 3
               : str_starts_nocase(text, STR("re")) ? 2
               : str_starts_nocase(text, STR("fw")) ? 2
                                                    : 0;
    if (i == 0) {
        return 0;
    }
    while (i < text.len && (text.data[i] == ' ' || text.data[i] == '\t')) {
        i++;
    }
    i += blob_length(str_from(text, i));
    return i < text.len && text.data[i] == ':' ? i + 1 : 0;
}

/* (3) of the procedure: blanks, and blobs with a refwd behind them. *blobs is how many bytes of blobs stand there without. */
static bool cut_leaders(struct str *text, size_t *blobs)
{
    bool cut = false;
    while (true) {
        if (*blobs == 0) {
            skip_spaces(text);
        }
        size_t at = *blobs;
        size_t len;
        while ((len = blob_length(str_from(*text, at))) > 0) {
            at += len;
        }
        size_t refwd = refwd_length(str_from(*text, at));
        if (refwd == 0) {
            *blobs = at;
            return cut;
        }
        *text = str_from(*text, at + refwd);
        *blobs = 0;
        cut = true;
    }
}

/* (3) to (5): leaders, then blobs as long as something is left behind them. */
static bool cut_prefixes(struct str *text)
{
    size_t blobs = 0;
    bool cut = cut_leaders(text, &blobs);
    while (blobs > 0) {
        size_t len = blob_length(*text);
        if (len == 0 || len >= text->len) {
            break;
        }
        *text = str_from(*text, len);
        blobs -= len;
    }
    return cut;
}

struct str subject_base(struct str subject, bool *is_reply)
{
    bool cut = false;
    while (true) {
        cut = cut_trailers(&subject) || cut;
        cut = cut_prefixes(&subject) || cut;
        if (!str_starts_nocase(subject, STR("[fwd:")) || !str_ends(subject, STR("]"))) {
            break;
        }
        subject = str_sub(subject, 5, subject.len - 1);
        cut = true;
    }
    if (is_reply != NULL) {
        *is_reply = cut;
    }
    return subject;
}

/* (1): tabs are spaces, several are one; so are other control characters, which no client wants to see. */
static void collapse(struct str text, struct buf *out)
{
    size_t i = 0;
    while (i < text.len) {
        size_t start = i;
        while (i < text.len && (unsigned char)text.data[i] > ' ' && text.data[i] != 0x7f) {
            i++;
        }
        buf_append_str(out, str_sub(text, start, i));
        start = i;
        while (i < text.len && ((unsigned char)text.data[i] <= ' ' || text.data[i] == 0x7f)) {
            i++;
        }
        if (i > start) {
            buf_append_char(out, ' ');
        }
    }
}

bool subject_append_base(struct str value, bool *is_reply, struct buf *out)
{
    struct buf decoded = buf_make(value.len * 4 + 64);
    struct buf single = buf_make(value.len * 4 + 64);
    encoded_word_append(value, &decoded);
    collapse(buf_str(&decoded), &single);
    buf_append_str(out, subject_base(buf_str(&single), is_reply));
    out->failed = out->failed || decoded.failed || single.failed;
    buf_free(&decoded);
    buf_free(&single);
    return buf_ok(out);
}

/* The readable text of HTML; see html.h. */
#include "message/html.h"

#include "message/charset.h"

/* `words`: each with a blank before and behind it; a name has none. */
static bool is_word(struct str name, struct str words)
{
    char wanted[HTML_WORD_MAX + 2] = {' '};
    memcpy(wanted + 1, name.data, name.len);
    wanted[name.len + 1] = ' ';
    return str_find_str(words, str_make(wanted, name.len + 2)) != SIZE_MAX;
}

static bool is_unread(struct str name)
{
    return name.len >= 5 && is_word(name, STR(" script style title template "));
}

static bool is_block(struct str name)
{
    if (name.len <= 1) {
        return name.len == 1 && name.data[0] == 'p';
    }
    if (name.len == 2) {
        return is_word(name, STR(" br tr li ul ol h1 h2 h3 h4 h5 h6 hr dt dd td th "));
    }
    return is_word(name, STR(" div pre table center blockquote "));
}

/* The tag's name is complete. */
static void end_name(struct html *html, struct buf *out)
{
    struct str name = str_make(html->word, html->word_len);
    if (html->skipping) {
        if (html->closing && str_equal(name, str_make(html->skipped, html->skipped_len))) {
            html->skipping = false;
        }
    } else if (!html->closing && is_unread(name)) {
        html->skipping = true;
        memcpy(html->skipped, html->word, html->word_len);
        html->skipped_len = html->word_len;
    } else if (is_block(name)) {
        buf_append_char(out, '\n');
    }
}

static void end_entity(struct html *html, bool semicolon, struct buf *out)
{
    struct str name = str_make(html->word, html->word_len);
    uint32_t character = html_entity(name);
    html->state = HTML_TEXT;
    if (html->skipping) {
        return;
    }
    if (character != 0) {
        charset_append_char(character, out);
        return;
    }
    buf_append_char(out, '&');
    buf_append_str(out, name);
    if (semicolon) {
        buf_append_char(out, ';');
    }
}

/* Text up to the next "<" or "&"; gives its length. */
static size_t take_text(struct html *html, struct str piece, struct buf *out)
{
    size_t len = 0;
    while (len < piece.len && piece.data[len] != '<' && (piece.data[len] != '&' || html->skipping)) {
        len++;
    }
    if (!html->skipping) {
        buf_append_str(out, str_sub(piece, 0, len));
    }
    if (len < piece.len) {
        html->state = piece.data[len] == '<' ? HTML_TAG_OPEN : HTML_ENTITY;
        html->word_len = 0;
        html->closing = false;
        len++;
    }
    return len;
}

/* Behind "<": true if the character is used up. */
static bool take_tag_open(struct html *html, char c, struct buf *out)
{
    if (c == '/' && !html->closing) {
        html->closing = true;
        return true;
    }
    if (ascii_is_alpha(c) && (html->closing || !html->skipping)) {
        html->state = HTML_TAG_NAME;
        return false;
    }
    if ((c == '!' || c == '?') && !html->skipping) {
        html->state = HTML_DECLARATION;
        html->dashes = 0;
        return true;
    }
    html->state = HTML_TEXT; /* a lone "<" */
    if (!html->skipping) {
        buf_append_char(out, '<');
    }
    return false;
}

static bool take_tag_name(struct html *html, char c, struct buf *out)
{
    if (ascii_is_alnum(c) || c == ':' || c == '-') {
        if (html->word_len < HTML_WORD_MAX) {
            html->word[html->word_len++] = ascii_lower(c);
        }
        return true;
    }
    bool was_skipping = html->skipping;
    end_name(html, out);
    /* Where nothing is read nothing is a tag but the one that ends it. */
    html->state = was_skipping && html->skipping ? HTML_TEXT : HTML_TAG;
    return false;
}

static void take_tag(struct html *html, char c)
{
    if (c == '>') {
        html->state = HTML_TEXT;
    } else if (c == '"' || c == '\'') {
        html->quote = c;
        html->state = HTML_TAG_QUOTED;
    }
}

static void take_declaration(struct html *html, char c)
{
    if (c == '-' && html->dashes < 2) {
        if (++html->dashes == 2) {
            html->state = HTML_COMMENT;
            html->dashes = 2; /* "<!-->" is a whole comment */
        }
    } else if (c == '>') {
        html->state = HTML_TEXT;
    } else {
        html->dashes = 2; /* no comment any more */
    }
}

static void take_comment(struct html *html, char c)
{
    if (c == '>' && html->dashes >= 2) {
        html->state = HTML_TEXT;
    }
    html->dashes = c == '-' ? html->dashes + 1 : 0;
}

static bool take_entity(struct html *html, char c, struct buf *out)
{
    if (html->word_len < HTML_WORD_MAX && (ascii_is_alnum(c) || (c == '#' && html->word_len == 0))) {
        html->word[html->word_len++] = c;
        return true;
    }
    end_entity(html, c == ';', out);
    return c == ';';
}

/* One character outside of text: true if it is used up. */
static bool take(struct html *html, char c, struct buf *out)
{
    switch (html->state) {
    case HTML_ENTITY: return take_entity(html, c, out);
    case HTML_TAG_OPEN: return take_tag_open(html, c, out);
    case HTML_TAG_NAME: return take_tag_name(html, c, out);
    case HTML_TAG: take_tag(html, c); return true;
    case HTML_TAG_QUOTED: html->state = c == html->quote ? HTML_TAG : HTML_TAG_QUOTED; return true;
    case HTML_DECLARATION: take_declaration(html, c); return true;
    case HTML_COMMENT: take_comment(html, c); return true;
    case HTML_TEXT: break;
    }
    return true;
}

bool html_append(struct html *html, struct str piece, struct buf *out)
{
    size_t at = 0;
    while (at < piece.len && buf_ok(out)) {
        if (html->state == HTML_TEXT) {
            at += take_text(html, str_from(piece, at), out);
        } else if (take(html, piece.data[at], out)) {
            at++;
        }
    }
    return buf_ok(out);
}

bool html_end(struct html *html, struct buf *out)
{
    if (html->state == HTML_ENTITY) {
        end_entity(html, false, out);
    } else if (html->state == HTML_TAG_OPEN && !html->skipping) {
        buf_append_char(out, '<');
    }
    return buf_ok(out);
}

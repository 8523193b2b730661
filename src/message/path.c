/* Reverse-path and forward-path; see path.h. */
#include "message/path.h"

#include "base/domain.h"

enum use { SENDER, RECIPIENT, PLAIN_ADDRESS };

static bool is_atext(char c)
{
    return ascii_is_alnum(c) || (c != '\0' && memchr("!#$%&'*+-/=?^_`{|}~", c, 19) != NULL) ||
           (unsigned char)c >= 0x80;
}

/* Length of a dot-string at the beginning of s; 0 if there is none. */
static size_t dot_string(struct str s)
{
    size_t i = 0;
    bool atom = false;
    for (; i < s.len; i++) {
        if (is_atext(s.data[i])) {
            atom = true;
        } else if (s.data[i] == '.' && atom) {
            atom = false;
        } else {
            break;
        }
    }
    return atom ? i : 0;
}

/* Length of a quoted string with its quotes at the beginning of s; 0 if there is none. */
static size_t quoted_string(struct str s)
{
    if (s.len == 0 || s.data[0] != '"') {
        return 0;
    }
    for (size_t i = 1; i < s.len; i++) {
        char c = s.data[i];
        if (c == '"') {
            return i + 1;
        }
        if (c == '\\') {
            i++;
            if (i >= s.len || (unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f) {
                return 0;
            }
        } else if ((unsigned char)c < 0x20 || c == 0x7f) {
            return 0;
        }
    }
    return 0;
}

/* Length of "@a,@b:" at the beginning of s; 0 if there is none. */
static size_t source_route(struct str s)
{
    size_t i = 0;
    while (i < s.len && s.data[i] == '@') {
        size_t start = ++i;
        while (i < s.len && (ascii_is_alnum(s.data[i]) || s.data[i] == '-' || s.data[i] == '.' ||
                             (unsigned char)s.data[i] >= 0x80)) {
            i++;
        }
        if (i == start || i >= s.len) {
            return 0;
        }
        if (s.data[i] == ':') {
            return i + 1;
        }
        if (s.data[i] != ',') {
            return 0;
        }
        i++;
    }
    return 0;
}

static size_t domain_length(struct str s)
{
    if (s.len > 0 && s.data[0] == '[') {
        size_t end = str_find(s, 0, ']');
        return end == SIZE_MAX ? 0 : end + 1;
    }
    size_t i = 0;
    while (i < s.len && (ascii_is_alnum(s.data[i]) || s.data[i] == '-' || s.data[i] == '.' ||
                         s.data[i] == '_' || (unsigned char)s.data[i] >= 0x80)) {
        i++;
    }
    return i;
}

static enum path_error check_domain(struct str domain)
{
    char area[DOMAIN_MAX * 2];
    struct buf normal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    return domain_normalize(domain, &normal) ? PATH_OK : PATH_BAD_DOMAIN;
}

/* Routing hidden in the local part. A sender's is only an answer's address, so nothing is routed by it. */
static bool is_routed(struct str local)
{
    return str_find(local, 0, '%') != SIZE_MAX || str_find(local, 0, '!') != SIZE_MAX ||
           str_find(local, 0, '@') != SIZE_MAX;
}

static enum path_error check_parts(struct path *path, enum use use, bool smtputf8)
{
    path->is_utf8 = !str_is_ascii(path->local) || !str_is_ascii(path->domain);
    if (path->is_utf8 && !smtputf8) {
        return PATH_NEEDS_UTF8;
    }
    if (path->is_utf8 && (!str_is_utf8(path->local) || !str_is_utf8(path->domain))) {
        return PATH_SYNTAX;
    }
    if (path->local.len > PATH_LOCAL_MAX || path->local.len + path->domain.len + 3 > PATH_MAX) {
        return PATH_TOO_LONG;
    }
    if (!path->no_domain && check_domain(path->domain) != PATH_OK) {
        return PATH_BAD_DOMAIN;
    }
    return use != SENDER && is_routed(path->local) ? PATH_PERCENT_HACK : PATH_OK;
}

static enum path_error parse_mailbox(struct str inside, enum use use, bool smtputf8, struct path *path,
                                     size_t *used)
{
    size_t len = inside.len > 0 && inside.data[0] == '"' ? quoted_string(inside) : dot_string(inside);
    if (len == 0) {
        return PATH_SYNTAX;
    }
    path->local = str_sub(inside, 0, len);
    path->quoted = path->local.data[0] == '"';
    struct str rest = str_from(inside, len);
    if (rest.len == 0 || rest.data[0] != '@') {
        *used = len;
        path->no_domain = true;
        path->domain = STR_EMPTY;
        bool postmaster = use == RECIPIENT && str_equal_nocase(path->local, STR("postmaster"));
        return postmaster ? PATH_OK : PATH_SYNTAX;
    }
    size_t domain_len = domain_length(str_from(rest, 1));
    if (domain_len == 0) {
        return PATH_BAD_DOMAIN;
    }
    path->domain = str_sub(rest, 1, 1 + domain_len);
    *used = len + 1 + domain_len;
    return check_parts(path, use, smtputf8);
}

enum path_error path_parse(struct str line, bool null_allowed, bool smtputf8, struct path *path)
{
    *path = (struct path){.rest = STR_EMPTY, .local = STR_EMPTY, .domain = STR_EMPTY};
    if (line.len < 2 || line.data[0] != '<') {
        return PATH_SYNTAX;
    }
    struct str inside = str_from(line, 1);
    if (inside.data[0] == '>') {
        path->null = true;
        path->rest = str_from(inside, 1);
        return null_allowed ? PATH_OK : PATH_SYNTAX;
    }
    size_t route = source_route(inside);
    path->had_route = route > 0;
    inside = str_from(inside, route);
    size_t used = 0;
    enum path_error error = parse_mailbox(inside, null_allowed ? SENDER : RECIPIENT, smtputf8, path, &used);
    if (error == PATH_PERCENT_HACK || error == PATH_OK) {
        if (used >= inside.len || inside.data[used] != '>') {
            return PATH_SYNTAX;
        }
        path->rest = str_from(inside, used + 1);
        if (path->rest.len > 0 && path->rest.data[0] != ' ') {
            return PATH_SYNTAX;
        }
    }
    return error;
}

/* Without quotes and backslashes where the text is a dot-string without them. */
static bool append_local(const struct path *path, struct buf *out)
{
    if (!path->quoted) {
        return buf_append_str(out, path->local);
    }
    char plain[PATH_LOCAL_MAX];
    size_t len = 0;
    struct str inside = str_sub(path->local, 1, path->local.len - 1);
    for (size_t i = 0; i < inside.len && len < sizeof(plain); i++) {
        if (inside.data[i] == '\\' && i + 1 < inside.len) {
            i++;
        }
        plain[len++] = inside.data[i];
    }
    struct str text = str_make(plain, len);
    if (len > 0 && dot_string(text) == len) {
        return buf_append_str(out, text);
    }
    buf_append_char(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (plain[i] == '"' || plain[i] == '\\') {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, plain[i]);
    }
    return buf_append_char(out, '"');
}

bool path_normalize(const struct path *path, struct buf *out)
{
    if (path->null) {
        return true;
    }
    if (!append_local(path, out)) {
        return false;
    }
    return path->no_domain || (buf_append_char(out, '@') && domain_normalize(path->domain, out));
}

enum path_error address_normalize(struct str address, struct buf *out)
{
    struct path path = {.rest = STR_EMPTY, .local = STR_EMPTY, .domain = STR_EMPTY};
    size_t used = 0;
    enum path_error error = parse_mailbox(address, PLAIN_ADDRESS, true, &path, &used);
    if (error != PATH_OK) {
        return error;
    }
    if (used != address.len) {
        return PATH_SYNTAX;
    }
    return path_normalize(&path, out) ? PATH_OK : PATH_BAD_DOMAIN;
}

bool address_split(struct str address, struct str *local, struct str *domain)
{
    size_t at = str_find_last(address, '@');
    if (at == SIZE_MAX) {
        return false;
    }
    *local = str_sub(address, 0, at);
    *domain = str_from(address, at + 1);
    return true;
}

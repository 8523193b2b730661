/* Reading search keys into a program; see search_private.h. Without recursion: what is open stands on a stack of its own. */
#include "imap/search_private.h"

#include "message/charset.h"
#include "message/fold.h"
#include "message/summary.h"

/* What waits for keys: a list in brackets, NOT, or OR. */
struct open_key {
    enum search_op op;
    bool fuzzy; /* so are the keys inside */
    size_t count;
};

struct parser {
    struct imap_server *s;
    struct imap_scan *scan;
    struct search_program *program;
    uint64_t wall_ms;
    struct str charset;
    bool fuzzy; /* the next key is */
    struct open_key open[SEARCH_DEPTH_MAX];
    size_t depth;
};

void search_program_free(struct search_program *program)
{
    for (size_t i = 0; i < program->count; i++) {
        imap_set_free(&program->nodes[i].set);
    }
    program->count = 0;
}

static struct search_node *add_node(struct parser *p, enum search_op op)
{
    struct search_program *program = p->program;
    if (program->count == program->room) {
        size_t room = program->room == 0 ? 32 : program->room * 2;
        struct search_node *nodes =
            room > SEARCH_NODES_MAX * 2 ? NULL : arena_alloc(&p->s->arena, room * sizeof(*nodes));
        if (nodes == NULL) {
            p->scan->why = "fewer search keys";
            return NULL;
        }
        if (program->count > 0) {
            memcpy(nodes, program->nodes, program->count * sizeof(*nodes));
        }
        program->nodes = nodes;
        program->room = room;
    }
    struct search_node *node = &program->nodes[program->count++];
    *node = (struct search_node){.op = op, .field = STR_EMPTY, .text = STR_EMPTY};
    return node;
}

static bool add_number(struct parser *p, enum search_op op, uint64_t number)
{
    struct search_node *node = add_node(p, op);
    if (node != NULL) {
        node->number = number;
    }
    return node != NULL;
}

/* Behind a key that has been read as its opposite. */
static bool negate(struct parser *p, bool fine)
{
    return fine && add_node(p, SEARCH_NOT) != NULL;
}

/* Arguments. */

static bool fold_argument(struct parser *p, struct str text, struct str *folded)
{
    struct buf utf8 = buf_make(SEARCH_TEXT_MAX);
    struct buf out = buf_make((size_t)4 * SEARCH_TEXT_MAX);
    bool fine = text.len <= SEARCH_TEXT_MAX;
    if (fine) {
        fine = p->charset.len == 0 || str_equal_nocase(p->charset, STR("UTF-8"))
                   ? buf_append_str(&utf8, text) && str_is_utf8(text)
                   : charset_append_utf8(p->charset, text, &utf8);
    }
    fine = fine && fold_text(buf_str(&utf8), &out);
    if (fine) {
        *folded = arena_copy(&p->s->arena, buf_str(&out));
        fine = folded->data != NULL;
    } else {
        p->scan->why = "a text in the charset of the search, of at most 4096 octets";
    }
    buf_free(&utf8);
    buf_free(&out);
    return fine;
}

/* All words of the text, but for their endings. */
static bool add_words(struct parser *p, const struct search_phrase *phrase)
{
    struct search_program *program = p->program;
    struct str words[SEARCH_WORDS_MAX];
    size_t count = search_words(phrase->text, words);
    if (program->phrase_count < SEARCH_PHRASES_MAX) {
        program->phrases[program->phrase_count++] = *phrase;
    }
    for (size_t i = 0; i < count || i == 0; i++) {
        struct search_node *node = add_node(p, phrase->op);
        if (node == NULL) {
            return false;
        }
        node->field = phrase->field;
        node->text = count == 0 ? phrase->text : search_stem(words[i]);
    }
    return count < 2 || add_number(p, SEARCH_AND, count);
}

static bool scan_text(struct parser *p, enum search_op op, struct str field)
{
    struct str text;
    struct search_phrase phrase = {.op = op, .field = field};
    if (!imap_scan_space(p->scan) || !imap_scan_astring(p->scan, &text) ||
        !fold_argument(p, text, &phrase.text)) {
        return false;
    }
    if (p->fuzzy || p->open[p->depth - 1].fuzzy) {
        return add_words(p, &phrase);
    }
    struct search_node *node = add_node(p, op);
    if (node != NULL) {
        node->field = field;
        node->text = phrase.text;
    }
    return node != NULL;
}

static bool scan_header(struct parser *p)
{
    struct str field;
    if (!imap_scan_space(p->scan) || !imap_scan_astring(p->scan, &field)) {
        return false;
    }
    return scan_text(p, SEARCH_HEADER, field);
}

static bool scan_number(struct parser *p, enum search_op op)
{
    uint64_t number;
    return imap_scan_space(p->scan) && imap_scan_number(p->scan, INT64_MAX, &number) &&
           add_number(p, op, number);
}

static bool scan_date(struct parser *p, enum search_op op)
{
    int64_t days;
    return imap_scan_space(p->scan) && imap_scan_date(p->scan, &days) && add_number(p, op, (uint64_t)days);
}

/* RFC 5032: an interval in seconds before now. */
static bool scan_interval(struct parser *p, enum search_op op)
{
    uint64_t seconds;
    if (!imap_scan_space(p->scan) || !imap_scan_number(p->scan, UINT32_MAX, &seconds) || seconds == 0) {
        p->scan->why = "a number of seconds";
        return false;
    }
    uint64_t ago = seconds * 1000;
    return add_number(p, op, ago < p->wall_ms ? p->wall_ms - ago : 0);
}

static bool scan_keyword(struct parser *p)
{
    struct str name;
    if (!imap_scan_space(p->scan) || !imap_scan_atom(p->scan, &name)) {
        return false;
    }
    uint64_t bit = imap_flag_bit(p->s, name);
    struct search_node *node = add_node(p, bit == 0 ? SEARCH_NOTHING : SEARCH_FLAGS);
    if (node != NULL) {
        node->number = bit;
        node->field = name;
    }
    return node != NULL;
}

static bool scan_id(struct parser *p, enum search_op op)
{
    struct str id;
    struct search_node *node = add_node(p, op);
    if (node == NULL || !imap_scan_space(p->scan) || !imap_scan_atom(p->scan, &id)) {
        return false;
    }
    node->text = id;
    return true;
}

/* RFC 7162, section 3.1.5: an optional entry's name and type, which all have the one modification sequence. */
static bool scan_modseq(struct parser *p)
{
    struct str text;
    imap_enable_condstore(p->s);
    p->program->uses_modseq = true;
    if (!imap_scan_space(p->scan)) {
        return false;
    }
    if (imap_scan_peek(p->scan) == '"') {
        bool typed = imap_scan_string(p->scan, &text, NULL) && imap_scan_space(p->scan) &&
                     (imap_scan_word(p->scan, STR("ALL")) || imap_scan_word(p->scan, STR("SHARED")) ||
                      imap_scan_word(p->scan, STR("PRIV")));
        if (!typed || !imap_scan_space(p->scan)) {
            return false;
        }
    }
    uint64_t modseq;
    return imap_scan_number(p->scan, INT64_MAX, &modseq) && add_number(p, SEARCH_MODSEQ, modseq);
}

static bool set_failed(struct parser *p)
{
    p->scan->why = "a set of message numbers";
    return false;
}

static bool scan_set(struct parser *p, bool uids)
{
    struct str text;
    struct imap_set numbers = imap_set_make();
    const struct imap_view *view = &p->s->selected.view;
    if (!imap_scan_set(p->scan, &text)) {
        return false;
    }
    if (!uids && text.data[0] != '$' && imap_is_enabled(p->s, IMAP_ENABLED_UIDONLY)) {
        p->program->uid_required = true;
        return false;
    }
    struct search_node *node = add_node(p, SEARCH_UIDS);
    if (node == NULL) {
        return false;
    }
    node->scope = p->depth == 1;
    if (text.data[0] == '$') {
        return imap_set_copy(&node->set, &p->s->selected.saved) || set_failed(p);
    }
    if (uids) {
        return imap_set_parse(&node->set, text, imap_view_last_uid(view)) == IMAP_SET_GOOD || set_failed(p);
    }
    /* Numbers beyond the end match nothing (RFC 7377, section 2). */
    bool fine = imap_set_parse(&numbers, text, (uint32_t)view->count) == IMAP_SET_GOOD &&
                imap_view_to_uids(view, &numbers, &node->set);
    imap_set_free(&numbers);
    return fine || set_failed(p);
}

/* " 23221": what has come after it, or before (RFC 9738). */
static bool scan_bound(struct parser *p, bool after)
{
    uint64_t uid = 0;
    struct search_node *node = NULL;
    if (imap_scan_space(p->scan) && imap_scan_number(p->scan, UINT32_MAX, &uid) && uid > 0) {
        node = add_node(p, SEARCH_UIDS);
    }
    if (node == NULL) {
        p->scan->why = "a UID";
        return false;
    }
    node->scope = p->depth == 1;
    if (after) {
        return uid == UINT32_MAX || imap_set_append(&node->set, (uint32_t)uid + 1, UINT32_MAX);
    }
    return uid == 1 || imap_set_append(&node->set, 1, (uint32_t)uid - 1);
}

/* Keys. */

enum key_kind {
    KEY_PLAIN,   /* op, number */
    KEY_UNFLAGS, /* not these flags */
    KEY_FIELD,   /* text in the header field of the key's name */
    KEY_NUMBER,
    KEY_DATE,
    KEY_INTERVAL,
    KEY_TEXT,
    KEY_ID,
    KEY_OTHER
};

static const struct key {
    struct str name;
    enum key_kind kind;
    enum search_op op;
    uint64_t number;
} keys[] = {
    {{"ALL", 3}, KEY_PLAIN, SEARCH_ALL, 0},
    {{"ANSWERED", 8}, KEY_PLAIN, SEARCH_FLAGS, IMAP_ANSWERED},
    {{"DELETED", 7}, KEY_PLAIN, SEARCH_FLAGS, IMAP_DELETED},
    {{"DRAFT", 5}, KEY_PLAIN, SEARCH_FLAGS, IMAP_DRAFT},
    {{"FLAGGED", 7}, KEY_PLAIN, SEARCH_FLAGS, IMAP_FLAGGED},
    {{"SEEN", 4}, KEY_PLAIN, SEARCH_FLAGS, IMAP_SEEN},
    {{"RECENT", 6}, KEY_PLAIN, SEARCH_RECENT, 0},
    {{"UNANSWERED", 10}, KEY_UNFLAGS, SEARCH_FLAGS, IMAP_ANSWERED},
    {{"UNDELETED", 9}, KEY_UNFLAGS, SEARCH_FLAGS, IMAP_DELETED},
    {{"UNDRAFT", 7}, KEY_UNFLAGS, SEARCH_FLAGS, IMAP_DRAFT},
    {{"UNFLAGGED", 9}, KEY_UNFLAGS, SEARCH_FLAGS, IMAP_FLAGGED},
    {{"UNSEEN", 6}, KEY_UNFLAGS, SEARCH_FLAGS, IMAP_SEEN},
    {{"OLD", 3}, KEY_UNFLAGS, SEARCH_RECENT, 0},
    {{"SAVEDATESUPPORTED", 17}, KEY_PLAIN, SEARCH_ALL, 0},
    {{"BCC", 3}, KEY_FIELD, SEARCH_HEADER, 0},
    {{"CC", 2}, KEY_FIELD, SEARCH_HEADER, 0},
    {{"FROM", 4}, KEY_FIELD, SEARCH_HEADER, 0},
    {{"SUBJECT", 7}, KEY_FIELD, SEARCH_HEADER, 0},
    {{"TO", 2}, KEY_FIELD, SEARCH_HEADER, 0},
    {{"LARGER", 6}, KEY_NUMBER, SEARCH_LARGER, 0},
    {{"SMALLER", 7}, KEY_NUMBER, SEARCH_SMALLER, 0},
    {{"BEFORE", 6}, KEY_DATE, SEARCH_BEFORE, 0},
    {{"ON", 2}, KEY_DATE, SEARCH_ON, 0},
    {{"SINCE", 5}, KEY_DATE, SEARCH_SINCE, 0},
    {{"SAVEDBEFORE", 11}, KEY_DATE, SEARCH_SAVED_BEFORE, 0},
    {{"SAVEDON", 7}, KEY_DATE, SEARCH_SAVED_ON, 0},
    {{"SAVEDSINCE", 10}, KEY_DATE, SEARCH_SAVED_SINCE, 0},
    {{"SENTBEFORE", 10}, KEY_DATE, SEARCH_SENT_BEFORE, 0},
    {{"SENTON", 6}, KEY_DATE, SEARCH_SENT_ON, 0},
    {{"SENTSINCE", 9}, KEY_DATE, SEARCH_SENT_SINCE, 0},
    {{"OLDER", 5}, KEY_INTERVAL, SEARCH_OLDER, 0},
    {{"YOUNGER", 7}, KEY_INTERVAL, SEARCH_YOUNGER, 0},
    {{"BODY", 4}, KEY_TEXT, SEARCH_BODY, 0},
    {{"TEXT", 4}, KEY_TEXT, SEARCH_TEXT, 0},
    {{"EMAILID", 7}, KEY_ID, SEARCH_EMAIL_ID, 0},
    {{"THREADID", 8}, KEY_ID, SEARCH_THREAD_ID, 0},
};

static bool scan_other(struct parser *p, bool *known)
{
    struct imap_scan *scan = p->scan;
    *known = true;
    if (imap_scan_word(scan, STR("HEADER"))) {
        return scan_header(p);
    }
    if (imap_scan_word(scan, STR("KEYWORD"))) {
        return scan_keyword(p);
    }
    if (imap_scan_word(scan, STR("UNKEYWORD"))) {
        return negate(p, scan_keyword(p));
    }
    if (imap_scan_word(scan, STR("MODSEQ"))) {
        return scan_modseq(p);
    }
    if (imap_scan_word(scan, STR("UID"))) {
        return imap_scan_space(scan) && scan_set(p, true);
    }
    if (imap_scan_word(scan, STR("UIDAFTER"))) {
        return scan_bound(p, true);
    }
    if (imap_scan_word(scan, STR("UIDBEFORE"))) {
        return scan_bound(p, false);
    }
    if (imap_scan_word(scan, STR("NEW"))) {
        return add_number(p, SEARCH_RECENT, 0) && negate(p, add_number(p, SEARCH_FLAGS, IMAP_SEEN)) &&
               add_number(p, SEARCH_AND, 2);
    }
    *known = false;
    return false;
}

static bool scan_leaf(struct parser *p)
{
    char c = imap_scan_peek(p->scan);
    bool known;
    if (ascii_is_digit(c) || c == '*' || c == '$') {
        return scan_set(p, false);
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct key *key = &keys[i];
        if (!imap_scan_word(p->scan, key->name)) {
            continue;
        }
        switch (key->kind) {
        case KEY_PLAIN: return add_number(p, key->op, key->number);
        case KEY_UNFLAGS: return negate(p, add_number(p, key->op, key->number));
        case KEY_FIELD: return scan_text(p, key->op, key->name);
        case KEY_NUMBER: return scan_number(p, key->op);
        case KEY_DATE: return scan_date(p, key->op);
        case KEY_INTERVAL: return scan_interval(p, key->op);
        case KEY_TEXT: return scan_text(p, key->op, STR_EMPTY);
        case KEY_ID: return scan_id(p, key->op);
        case KEY_OTHER: break;
        }
    }
    bool fine = scan_other(p, &known);
    if (!known) {
        p->scan->why = "a search key";
    }
    return fine;
}

static bool open_key(struct parser *p, enum search_op op)
{
    if (p->depth == SEARCH_DEPTH_MAX) {
        p->scan->why = "fewer levels";
        return false;
    }
    bool fuzzy = p->fuzzy || (p->depth > 0 && p->open[p->depth - 1].fuzzy);
    p->open[p->depth++] = (struct open_key){.op = op, .fuzzy = fuzzy};
    p->fuzzy = false;
    return true;
}

/* A key is complete: NOT and OR that wait for it may be, too. */
static bool complete(struct parser *p)
{
    for (;;) {
        struct open_key *top = &p->open[p->depth - 1];
        top->count++;
        if (top->op == SEARCH_AND || (top->op == SEARCH_OR && top->count < 2)) {
            return true;
        }
        p->depth--;
        if (!add_number(p, top->op, 2)) {
            return false;
        }
    }
}

/* ")" of a list, or the end of the command. */
static bool close_list(struct parser *p)
{
    const struct open_key *top = &p->open[p->depth - 1];
    if (top->op != SEARCH_AND || top->count == 0) {
        p->scan->why = "a search key";
        return false;
    }
    p->depth--;
    return add_number(p, SEARCH_AND, top->count);
}

/* One step: an opening word, or a whole key with the brackets behind it. */
static bool scan_step(struct parser *p, bool *ended)
{
    struct imap_scan *scan = p->scan;
    if (imap_scan_char(scan, '(')) {
        return open_key(p, SEARCH_AND);
    }
    if (imap_scan_word(scan, STR("NOT"))) {
        return open_key(p, SEARCH_NOT) && imap_scan_space(scan);
    }
    if (imap_scan_word(scan, STR("OR"))) {
        return open_key(p, SEARCH_OR) && imap_scan_space(scan);
    }
    if (imap_scan_word(scan, STR("FUZZY"))) { /* of keys that are no texts an exact search is a good one */
        p->fuzzy = true;
        p->program->fuzzy = true;
        return imap_scan_space(scan);
    }
    if (!scan_leaf(p) || !complete(p)) {
        return false;
    }
    p->fuzzy = false;
    while (imap_scan_char(scan, ')')) {
        if (p->depth == 1 || !close_list(p) || !complete(p)) {
            return false;
        }
    }
    *ended = imap_scan_end(scan);
    return *ended || imap_scan_space(scan);
}

bool search_is_charset(struct str name)
{
    return str_equal_nocase(name, STR("UTF-8")) || str_equal_nocase(name, STR("US-ASCII")) ||
           charset_find(name) != CHARSET_UNKNOWN;
}

bool search_parse(struct imap_server *s, struct imap_scan *scan, uint64_t wall_ms,
                  struct search_program *program)
{
    struct parser p = {
        .s = s, .scan = scan, .program = program, .wall_ms = wall_ms, .charset = s->search_charset};
    bool ended = false;
    if (!open_key(&p, SEARCH_AND)) {
        return false;
    }
    while (!ended) {
        if (!scan_step(&p, &ended)) {
            return false;
        }
    }
    if (p.depth != 1) {
        scan->why = "a closing bracket";
        return false;
    }
    if (!close_list(&p)) {
        return false;
    }
    program->values = arena_alloc(&s->arena, program->count * sizeof(*program->values));
    if (program->values == NULL) {
        scan->why = "fewer search keys";
    }
    return program->values != NULL;
}

unsigned search_want(const struct search_program *program, bool *header_only)
{
    unsigned want = 0;
    *header_only = true;
    for (size_t i = 0; i < program->count; i++) {
        enum search_op op = program->nodes[i].op;
        if (op >= SEARCH_BODY) {
            *header_only = false;
        }
        bool in_summary = op == SEARCH_HEADER ? summary_has_field(program->nodes[i].field) : op < SEARCH_BODY;
        if (op >= SEARCH_HEADER) {
            want |= IMAP_WANT_META | (in_summary ? IMAP_WANT_SUMMARY : IMAP_WANT_BODY);
        } else if (op >= SEARCH_LARGER) {
            want |= IMAP_WANT_META;
        }
    }
    return (want & IMAP_WANT_BODY) != 0 ? want & ~(unsigned)IMAP_WANT_SUMMARY : want;
}

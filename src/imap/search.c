/*
 * SEARCH (RFC 9051, section 6.4.4) with ESEARCH, SEARCHRES and PARTIAL (RFC 4731, 5182, 9394): the program runs over the view, then
 * over what it could not decide, as those messages come.
 */
#include "imap/search_private.h"

#include "base/mem.h"
#include "message/header.h"
#include "message/summary.h"

#include <stdlib.h>

static void free_search(void *data)
{
    struct search_command *search = data;
    search_program_free(&search->program);
    imap_set_free(&search->unknown);
    imap_set_free(&search->candidates);
    mem_free(search->hits);
    mem_free(search->scores);
    buf_free(&search->text);
    if (search->free_more != NULL) {
        search->free_more(search->more);
    }
}

struct search_command *search_begin(struct imap_server *s)
{
    struct search_command *search = imap_command_data(s, sizeof(*search), free_search);
    if (search != NULL) {
        search->text = buf_make(s->settings->append_max + 2 * IMAP_LINE_MAX);
    }
    return search;
}

/* Options. */

static bool scan_bound(struct imap_scan *scan, bool *negative, uint32_t *number)
{
    uint64_t value;
    *negative = imap_scan_char(scan, '-');
    if (!imap_scan_number(scan, UINT32_MAX, &value) || value == 0) {
        scan->why = "a range like 1:100";
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

bool imap_scan_partial(struct imap_scan *scan, bool *from_end, uint32_t *lower, uint32_t *upper)
{
    uint32_t first;
    uint32_t last;
    bool other;
    if (!imap_scan_space(scan) || !scan_bound(scan, from_end, &first) || !imap_scan_char(scan, ':') ||
        !scan_bound(scan, &other, &last) || other != *from_end) {
        scan->why = "a range like 1:100";
        return false;
    }
    *lower = first < last ? first : last;
    *upper = first < last ? last : first;
    return true;
}

static bool scan_partial(struct imap_scan *scan, struct search_command *search)
{
    return imap_scan_partial(scan, &search->from_end, &search->partial_first, &search->partial_last);
}

bool search_scan_return(struct imap_server *s, struct imap_scan *scan, struct search_command *search)
{
    static const struct {
        struct str word;
        unsigned give;
    } options[] = {{{"MIN", 3}, SEARCH_RETURN_MIN},
                   {{"MAX", 3}, SEARCH_RETURN_MAX},
                   {{"ALL", 3}, SEARCH_RETURN_ALL},
                   {{"COUNT", 5}, SEARCH_RETURN_COUNT},
                   {{"SAVE", 4}, SEARCH_RETURN_SAVE},
                   {{"PARTIAL", 7}, SEARCH_RETURN_PARTIAL},
                   {{"UPDATE", 6}, SEARCH_RETURN_UPDATE},
                   {{"CONTEXT", 7}, SEARCH_RETURN_CONTEXT},
                   {{"RELEVANCY", 9}, SEARCH_RETURN_RELEVANCY}};
    enum { OPTIONS = sizeof(options) / sizeof(options[0]) };
    struct imap_scan before = *scan;
    if (!imap_scan_space(scan) || !imap_scan_word(scan, STR("RETURN"))) {
        *scan = before;
        return true;
    }
    search->extended = true;
    if (!imap_scan_space(scan) || !imap_scan_char(scan, '(')) {
        return false;
    }
    while (imap_scan_peek(scan) != ')') {
        size_t i = 0;
        while (i < OPTIONS && !imap_scan_word(scan, options[i].word)) {
            i++;
        }
        if (i == OPTIONS || (options[i].give == SEARCH_RETURN_PARTIAL && !scan_partial(scan, search)) ||
            (options[i].give == SEARCH_RETURN_UPDATE && !imap_context_scan_items(s, scan, &search->items)) ||
            (imap_scan_peek(scan) != ')' && !imap_scan_space(scan))) {
            scan->why = i == OPTIONS ? "MIN, MAX, ALL, COUNT, SAVE, PARTIAL, UPDATE, CONTEXT or RELEVANCY"
                                     : scan->why;
            return false;
        }
        search->give |= options[i].give;
    }
    if (search->give == 0) {
        search->give |= SEARCH_RETURN_ALL;
    }
    if ((search->give & SEARCH_RETURN_ALL) != 0 && (search->give & SEARCH_RETURN_PARTIAL) != 0) {
        scan->why = "either ALL or PARTIAL"; /* RFC 5267, section 4.4 */
        return false;
    }
    return imap_scan_char(scan, ')');
}

/* Hits. */

static void add_hit(struct search_command *search, uint32_t uid)
{
    if (search->hit_count == search->hit_room) {
        size_t room = search->hit_room == 0 ? 64 : search->hit_room * 2;
        uint32_t *hits = mem_realloc(search->hits, room * sizeof(*hits));
        if (hits == NULL) {
            search->no_memory = true;
            return;
        }
        search->hits = hits;
        search->hit_room = room;
    }
    search->hits[search->hit_count++] = uid;
}

static int compare_uids(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static enum imap_request all_known(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    if (s->answer != IMAP_DONE || search->no_memory) {
        imap_set_clear(&s->selected.saved);
        return imap_no_answer(s, out, search->no_memory ? IMAP_LIMIT : s->answer, false);
    }
    if (search->hit_count > 1) {
        qsort(search->hits, search->hit_count, sizeof(*search->hits), compare_uids);
    }
    return search->found(s, out);
}

bool search_summary_fields(const struct imap_message *message, struct str *header)
{
    struct summary summary;
    return summary_decode(message->summary, &summary) && summary_text(&summary, SUMMARY_FIELDS, header);
}

static void judge(struct search_command *search, struct str text, bool has_body)
{
    struct search_subject subject = {.entry = search->entry,
                                     .message = &search->message,
                                     .has_header = true,
                                     .has_body = has_body,
                                     .text = has_body ? text : str_sub(text, 0, header_end(text))};
    if (search->entry != NULL && search_evaluate(&search->program, &subject) == SEARCH_TRUE) {
        add_hit(search, search->entry->uid);
        search->no_memory = search->no_memory || (search->scored && !search_note_score(search, &subject));
    }
}

static bool message_came(struct imap_server *s, const struct imap_message *message, struct buf *out)
{
    struct search_command *search = s->data;
    (void)out;
    search->entry = imap_view_entry(&s->selected.view, message->uid);
    search->message = *message;
    s->progress_done += !search->own_progress && s->progress_done < s->progress_goal;
    buf_clear(&search->text);
    if (imap_message_has_octets(&s->ask, message)) {
        return true;
    }
    struct str fields = STR_EMPTY;
    if (message->summary.len > 0 && !search_summary_fields(message, &fields)) {
        return false;
    }
    judge(search, fields, false);
    return !search->no_memory;
}

static bool bytes_came(struct imap_server *s, struct str bytes, bool last, struct buf *out)
{
    struct search_command *search = s->data;
    (void)out;
    if (!buf_append_str(&search->text, bytes)) {
        search->no_memory = true;
    }
    if (last) {
        judge(search, buf_str(&search->text), s->ask.length == UINT64_MAX);
    }
    return !search->no_memory;
}

enum imap_request search_bad(struct imap_server *s, struct buf *out, const struct imap_scan *scan,
                             const char *words)
{
    const struct search_command *search = s->data;
    return search->program.uid_required
               ? imap_bad(s, out, NULL, "[UIDREQUIRED] UIDONLY is enabled: no message numbers")
               : imap_bad(s, out, scan, words);
}

enum imap_request search_read_unknown(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    bool header_only;
    s->answer = IMAP_DONE;
    if (search->unknown.count == 0 || search->no_memory) {
        return all_known(s, out);
    }
    s->message = message_came;
    s->bytes = bytes_came;
    s->ask.uids = &search->unknown;
    s->ask.want = search_want(&search->program, &header_only);
    s->ask.texts = 1U << SUMMARY_FIELDS;
    s->ask.offset = 0;
    s->ask.length = header_only ? SEARCH_HEADER_MAX : UINT64_MAX;
    s->progress_goal = search->own_progress ? s->progress_goal : imap_set_size(&search->unknown);
    return imap_ask(s, IMAP_MESSAGES, all_known);
}

static bool is_in_scope(const struct search_program *program, uint32_t uid)
{
    bool inside = true;
    for (size_t i = 0; i < program->count && inside; i++) {
        inside = !program->nodes[i].scope || imap_set_contains(&program->nodes[i].set, uid);
    }
    return inside;
}

/* RFC 9738: the first message of the view that is searched; 0: there are not too many. */
static size_t first_within_limit(struct imap_server *s, const struct search_program *program)
{
    const struct imap_view *view = &s->selected.view;
    uint64_t messages = 0;
    size_t first = view->count;
    for (size_t i = view->count; i > 0; i--) {
        if (view->entries[i - 1].gone || !is_in_scope(program, view->entries[i - 1].uid)) {
            continue;
        }
        if (imap_is_over_limit(s, ++messages)) {
            s->limited_uid = view->entries[first].uid;
            return first;
        }
        first = i - 1;
    }
    return 0;
}

/* What the view cannot decide is asked for: first which messages may be hits, then those. */
enum imap_request search_run(struct imap_server *s, struct buf *out,
                             enum imap_request (*found)(struct imap_server *s, struct buf *out))
{
    struct search_command *search = s->data;
    const struct imap_view *view = &s->selected.view;
    size_t first = 0;
    search->found = found;
    if (s->settings->message_limit > 0 && !search->correlate) {
        first = first_within_limit(s, &search->program);
        if (first > 0 && search->more != NULL) {
            return imap_no_limit(s, out); /* a part cannot be put in order */
        }
    }
    for (size_t i = first; i < view->count; i++) {
        struct search_subject subject = {.entry = &view->entries[i]};
        enum search_value value =
            view->entries[i].gone ? SEARCH_FALSE : search_evaluate(&search->program, &subject);
        if (value == SEARCH_TRUE) {
            add_hit(search, view->entries[i].uid);
        } else if (value == SEARCH_UNKNOWN) {
            search->no_memory = search->no_memory || !imap_set_append(&search->unknown, view->entries[i].uid,
                                                                      view->entries[i].uid);
        }
    }
    return search->no_memory ? search_read_unknown(s, out) : search_narrow(s, out);
}

/* Replies. */

uint32_t search_number(const struct imap_server *s, uint32_t uid)
{
    return s->by_uid ? uid : (uint32_t)imap_view_find(&s->selected.view, uid) + 1;
}

static uint64_t modseq_of(struct imap_server *s, uint32_t uid)
{
    const struct imap_entry *entry = imap_view_entry(&s->selected.view, uid);
    return entry == NULL ? 0 : entry->modseq;
}

static uint64_t highest_modseq(struct imap_server *s, const uint32_t *uids, size_t count)
{
    uint64_t highest = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t modseq = modseq_of(s, uids[i]);
        highest = modseq > highest ? modseq : highest;
    }
    return highest;
}

/* In the order given, neighbours joined: SORT's order must stay (RFC 5267, section 3.3). */
static void write_ordered(const struct imap_server *s, const uint32_t *uids, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count;) {
        uint32_t first = search_number(s, uids[i]);
        uint32_t last = first;
        for (i++; i < count && search_number(s, uids[i]) == last + 1; i++) {
            last++;
        }
        buf_append_u64(out, first);
        if (last != first) {
            buf_append_char(out, ':');
            buf_append_u64(out, last);
        }
        if (i < count) {
            buf_append_char(out, ',');
        }
    }
}

/* The results from *first on, before *last, that PARTIAL names; the last ones where it counts from the end. */
static void partial_range(const struct search_command *search, size_t count, size_t *first, size_t *last)
{
    size_t begin = search->partial_first - 1 < count ? search->partial_first - 1 : count;
    size_t end = search->partial_last < count ? search->partial_last : count;
    *first = search->from_end ? count - end : begin;
    *last = search->from_end ? count - begin : end;
}

static void write_partial(const struct imap_server *s, const struct search_command *search,
                          const uint32_t *uids, size_t count, struct buf *out)
{
    size_t first;
    size_t last;
    partial_range(search, count, &first, &last);
    buf_append_str(out, search->from_end ? STR(" PARTIAL (-") : STR(" PARTIAL ("));
    buf_append_u64(out, search->partial_first);
    buf_append_str(out, search->from_end ? STR(":-") : STR(":"));
    buf_append_u64(out, search->partial_last);
    buf_append_char(out, ' ');
    if (first >= last) {
        buf_append_lit(out, "NIL");
    } else {
        write_ordered(s, uids + first, last - first, out);
    }
    buf_append_char(out, ')');
}

static bool is_saved(const struct search_command *search, size_t at, size_t count)
{
    unsigned some = SEARCH_RETURN_MIN | SEARCH_RETURN_MAX | SEARCH_RETURN_PARTIAL;
    size_t first;
    size_t last;
    if ((search->give & (SEARCH_RETURN_ALL | SEARCH_RETURN_COUNT)) != 0 || (search->give & some) == 0) {
        return true;
    }
    partial_range(search, count, &first, &last);
    return ((search->give & SEARCH_RETURN_PARTIAL) != 0 && at >= first && at < last) ||
           ((search->give & SEARCH_RETURN_MIN) != 0 && at == 0) ||
           ((search->give & SEARCH_RETURN_MAX) != 0 && at == count - 1);
}

/*
 * RFC 5182, section 2.4, and RFC 9394, section 3.2: all that was found, but with MIN, MAX or PARTIAL and neither ALL nor COUNT what
 * these return. The results of a SORT are in another order than that of a set.
 */
static bool save(struct imap_server *s, const struct search_command *search, const uint32_t *uids,
                 size_t count)
{
    struct imap_set *saved = &s->selected.saved;
    uint32_t *chosen = mem_alloc((count + 1) * sizeof(*chosen));
    size_t n = 0;
    bool fine = chosen != NULL;
    imap_set_clear(saved);
    for (size_t i = 0; i < count && fine; i++) {
        if (is_saved(search, i, count)) {
            chosen[n++] = uids[i];
        }
    }
    if (n > 1) {
        qsort(chosen, n, sizeof(*chosen), compare_uids);
    }
    for (size_t i = 0; i < n && fine; i++) {
        fine = imap_set_append(saved, chosen[i], chosen[i]);
    }
    mem_free(chosen);
    if (!fine) {
        imap_set_clear(saved);
    }
    return fine;
}

static void write_modseq(struct imap_server *s, const struct search_command *search, const uint32_t *uids,
                         size_t count, struct buf *out)
{
    unsigned others = SEARCH_RETURN_ALL | SEARCH_RETURN_COUNT | SEARCH_RETURN_PARTIAL;
    uint64_t highest = highest_modseq(s, uids, count);
    if (!search->program.uses_modseq || count == 0) {
        return;
    }
    if ((search->give & others) == 0) {
        uint64_t min = (search->give & SEARCH_RETURN_MIN) != 0 ? modseq_of(s, uids[0]) : 0;
        uint64_t max = (search->give & SEARCH_RETURN_MAX) != 0 ? modseq_of(s, uids[count - 1]) : 0;
        highest = min > max ? min : max;
    }
    buf_append_lit(out, " MODSEQ ");
    buf_append_u64(out, highest);
}

static void write_number(const char *word, uint64_t number, struct buf *out)
{
    buf_append_str(out, str_of(word));
    buf_append_u64(out, number);
}

void search_write_extended(struct imap_server *s, struct buf *out, const uint32_t *uids, size_t count)
{
    const struct search_command *search = s->data;
    buf_append_lit(out, "* ESEARCH (TAG ");
    imap_string_write(s, s->tag, out);
    if (search->correlate) {
        buf_append_lit(out, " MAILBOX ");
        imap_name_write(s, buf_str(&s->selected.name), out);
        write_number(" UIDVALIDITY ", s->selected.uid_validity, out);
    }
    buf_append_char(out, ')');
    buf_append_str(out, s->by_uid ? STR(" UID") : STR_EMPTY);
    if ((search->give & SEARCH_RETURN_MIN) != 0 && count > 0) {
        write_number(" MIN ", search_number(s, uids[0]), out);
    }
    if ((search->give & SEARCH_RETURN_MAX) != 0 && count > 0) {
        write_number(" MAX ", search_number(s, uids[count - 1]), out);
    }
    if ((search->give & SEARCH_RETURN_ALL) != 0 && count > 0) {
        buf_append_lit(out, " ALL ");
        write_ordered(s, uids, count, out);
    }
    if ((search->give & SEARCH_RETURN_COUNT) != 0) {
        write_number(" COUNT ", count, out);
    }
    if ((search->give & SEARCH_RETURN_PARTIAL) != 0) {
        write_partial(s, search, uids, count, out);
    }
    if ((search->give & SEARCH_RETURN_RELEVANCY) != 0 && count > 0) {
        size_t first = 0;
        size_t last = count;
        if ((search->give & SEARCH_RETURN_PARTIAL) != 0) {
            partial_range(search, count, &first, &last);
        }
        search_write_scores(search, uids + first, last - first, out);
    }
    write_modseq(s, search, uids, count, out);
    buf_append_lit(out, "\r\n");
}

enum imap_request search_reply_extended(struct imap_server *s, struct buf *out, const uint32_t *uids,
                                        size_t count)
{
    const struct search_command *search = s->data;
    if ((search->give & SEARCH_RETURN_SAVE) != 0) {
        if (!save(s, search, uids, count)) {
            return imap_no(s, out, "[NOTSAVED] ", "There is no memory to save the result");
        }
    }
    if (search->give == SEARCH_RETURN_SAVE) {
        return imap_ok(s, out, "", "Saved");
    }
    if (count > 0 || !search->correlate) {
        search_write_extended(s, out, uids, count);
    }
    if ((search->give & SEARCH_RETURN_UPDATE) != 0) {
        /* Hits in another order than the mailbox's are those of a SORT. */
        static const uint32_t none = 0;
        bool sorted = search->more != NULL && !search->correlate;
        const uint32_t *hits = count == 0 ? &none : uids;
        imap_context_add(s, search->keys, search->items, sorted ? NULL : hits, count, out);
    }
    return imap_ok(s, out, "", "Searched");
}

static enum imap_request reply_plain(struct imap_server *s, struct buf *out)
{
    const struct search_command *search = s->data;
    if (search->extended) {
        return search_reply_extended(s, out, search->hits, search->hit_count);
    }
    buf_append_lit(out, "* SEARCH");
    for (size_t i = 0; i < search->hit_count; i++) {
        buf_append_char(out, ' ');
        buf_append_u64(out, search_number(s, search->hits[i]));
    }
    if (search->program.uses_modseq && search->hit_count > 0) {
        write_number(" (MODSEQ ", highest_modseq(s, search->hits, search->hit_count), out);
        buf_append_char(out, ')');
    }
    buf_append_lit(out, "\r\n");
    return imap_ok(s, out, "", "Searched");
}

/* " CHARSET name" */
static bool scan_charset(struct imap_server *s, struct imap_scan *scan)
{
    struct imap_scan before = *scan;
    s->search_charset = STR_EMPTY;
    if (imap_scan_space(scan) && imap_scan_word(scan, STR("CHARSET"))) {
        return imap_scan_space(scan) && imap_scan_astring(scan, &s->search_charset);
    }
    *scan = before;
    return true;
}

bool search_may_score(struct imap_server *s, struct buf *out, enum imap_request *request)
{
    const struct search_command *search = s->data;
    if (search->scored && !search->program.fuzzy) { /* RFC 6203, section 4 */
        *request = imap_bad(s, out, NULL, "RELEVANCY is for searches with a FUZZY key");
        return false;
    }
    return true;
}

bool search_scan_keys(struct imap_server *s, struct imap_scan *scan, struct buf *out, const char *words,
                      enum imap_request *request)
{
    struct search_command *search = s->data;
    scan->utf8 = true; /* RFC 6855: text of a search may be UTF-8 */
    if (!search_scan_return(s, scan, search) || !scan_charset(s, scan) || !imap_scan_space(scan)) {
        *request = imap_bad(s, out, scan, words);
        return false;
    }
    if ((search->give & SEARCH_RETURN_UPDATE) != 0 && imap_context_exists(s, s->tag)) {
        *request = imap_bad(s, out, NULL, "A search of this tag is kept up to date already");
        return false;
    }
    if (s->search_charset.len > 0 && !search_is_charset(s->search_charset)) {
        *request = imap_no(s, out, "[BADCHARSET (UTF-8 US-ASCII)] ", "This charset is not known here");
        return false;
    }
    search->keys = scan->rest;
    if (!search_parse(s, scan, s->wall_ms, &search->program)) {
        *request = search_bad(s, out, scan, words);
        return false;
    }
    search->scored = (search->give & SEARCH_RETURN_RELEVANCY) != 0;
    return search_may_score(s, out, request);
}

enum imap_request imap_command_search(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct search_command *search = search_begin(s);
    enum imap_request request;
    if (search == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    if (!search_scan_keys(s, scan, out, "SEARCH takes search keys", &request)) {
        return request;
    }
    if (!search->extended && imap_is_enabled(s, IMAP_ENABLED_REV2)) {
        search->extended = true;
        search->give = SEARCH_RETURN_ALL;
    }
    return search_run(s, out, reply_plain);
}

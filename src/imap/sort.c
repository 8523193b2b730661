/* SORT and ESORT (RFC 5256, 5267), SORT=DISPLAY (RFC 5957): a search, then keys of each hit, then an order that is stable. */
#include "imap/search_private.h"

#include "base/mem.h"
#include "message/addresslist.h"
#include "message/date.h"
#include "message/encoded_word.h"
#include "message/fold.h"
#include "message/header.h"
#include "message/subject.h"
#include "message/summary.h"

#include <stdlib.h>

enum { CRITERIA_MAX = 16, KEY_TEXT_MAX = 255, TEXTS_MAX = 512 << 20 };

enum criterion {
    SORT_RELEVANCY, /* RFC 6203: the best first */
    SORT_ARRIVAL,
    SORT_SIZE,
    SORT_DATE, /* this and what follows need the header */
    SORT_CC,
    SORT_FROM,
    SORT_TO,
    SORT_SUBJECT,
    SORT_DISPLAY_FROM,
    SORT_DISPLAY_TO
};

struct sort_key {
    uint64_t number; /* or the length of a text */
    size_t at;       /* of a text */
};

struct sort_item {
    uint32_t uid;
    struct sort_key keys[]; /* as many as there are criteria */
};

struct sort {
    enum criterion criteria[CRITERIA_MAX];
    bool reverse[CRITERIA_MAX];
    size_t count;
    size_t item_size;
    char *items;
    size_t item_count;
    struct buf texts; /* folded */
};

static void free_sort(void *more)
{
    struct sort *sort = more;
    mem_free(sort->items);
    buf_free(&sort->texts);
    mem_free(sort);
}

static struct sort_item *item_at(const struct sort *sort, size_t i)
{
    return (struct sort_item *)(void *)(sort->items + i * sort->item_size);
}

/* Keys. */

static bool needs_header(const struct sort *sort)
{
    for (size_t i = 0; i < sort->count; i++) {
        if (sort->criteria[i] >= SORT_DATE) {
            return true;
        }
    }
    return false;
}

uint64_t search_sent_ms(struct str header, uint64_t internal_ms)
{
    struct header_field field;
    struct date_parsed date;
    if (!header_find(header, STR("Date"), &field) || !date_parse(field.value, &date)) {
        return internal_ms; /* RFC 5256, section 2.2 */
    }
    return date.seconds < 0 ? 0 : (uint64_t)date.seconds * 1000;
}

/* The first address of a field: its local part, or what a program shows for it. */
static bool append_address(struct str header, struct str name, bool display, struct buf *out)
{
    struct header_field field;
    struct addresslist_entry entry;
    if (!header_find(header, name, &field)) {
        return true;
    }
    struct addresslist list = {.text = field.value};
    if (!addresslist_next(&list, &entry)) {
        return true;
    }
    if (entry.kind == ADDRESSLIST_GROUP_BEGIN) { /* its name stands where ENVELOPE has the mailbox */
        return addresslist_append_name(&entry, out);
    }
    if (!display) {
        return addresslist_append_word(entry.local, out);
    }
    struct buf shown = buf_make(4096);
    bool fine = addresslist_append_name(&entry, &shown) && encoded_word_append(buf_str(&shown), out);
    if (fine && out->len == 0) {
        fine = addresslist_append_address(&entry, out);
    }
    buf_free(&shown);
    return fine;
}

static bool append_text(enum criterion criterion, struct str header, struct buf *out)
{
    struct header_field field;
    switch (criterion) {
    case SORT_CC: return append_address(header, STR("Cc"), false, out);
    case SORT_FROM: return append_address(header, STR("From"), false, out);
    case SORT_TO: return append_address(header, STR("To"), false, out);
    case SORT_DISPLAY_FROM: return append_address(header, STR("From"), true, out);
    case SORT_DISPLAY_TO: return append_address(header, STR("To"), true, out);
    default:
        return !header_find(header, STR("Subject"), &field) || subject_append_base(field.value, NULL, out);
    }
}

static bool set_text(struct sort *sort, enum criterion criterion, struct str header, struct sort_key *key)
{
    struct buf text = buf_make(65536);
    struct buf folded = buf_make(262144);
    bool fine = append_text(criterion, header, &text) && fold_text(buf_str(&text), &folded);
    key->at = sort->texts.len;
    /* Capitals, as i;unicode-casemap (RFC 5051) orders: they come before "_". */
    for (size_t i = 0; i < folded.len; i++) {
        folded.data[i] = ascii_upper(folded.data[i]);
    }
    struct str kept = str_sub(buf_str(&folded), 0, KEY_TEXT_MAX);
    key->number = kept.len;
    fine = fine && buf_append_str(&sort->texts, kept);
    buf_free(&text);
    buf_free(&folded);
    return fine;
}

static bool take_item(struct imap_server *s, struct str header)
{
    struct search_command *search = s->data;
    struct sort *sort = search->more;
    struct sort_item *item = item_at(sort, sort->item_count);
    bool fine = true;
    if (sort->item_count == search->hit_count || search->entry == NULL) {
        return true;
    }
    item->uid = search->message.uid;
    for (size_t i = 0; i < sort->count; i++) {
        struct sort_key *key = &item->keys[i];
        switch (sort->criteria[i]) {
        case SORT_RELEVANCY: key->number = 100 - search_score(search, item->uid); break;
        case SORT_ARRIVAL: key->number = search->message.internal_ms; break;
        case SORT_SIZE: key->number = search->message.size; break;
        case SORT_DATE: key->number = search_sent_ms(header, search->message.internal_ms); break;
        default: fine = fine && set_text(sort, sort->criteria[i], header, key); break;
        }
    }
    sort->item_count++;
    return fine;
}

static bool message_came(struct imap_server *s, const struct imap_message *message, struct buf *out)
{
    struct search_command *search = s->data;
    (void)out;
    search->entry = imap_view_entry(&s->selected.view, message->uid);
    search->message = *message;
    s->progress_done += s->progress_done < s->progress_goal;
    buf_clear(&search->text);
    if (imap_message_has_octets(&s->ask, message)) {
        return true;
    }
    struct str fields = STR_EMPTY;
    return (message->summary.len == 0 || search_summary_fields(message, &fields)) && search->take(s, fields);
}

static bool bytes_came(struct imap_server *s, struct str bytes, bool last, struct buf *out)
{
    struct search_command *search = s->data;
    (void)out;
    if (!buf_append_str(&search->text, bytes)) {
        return false;
    }
    struct str text = buf_str(&search->text);
    return !last || search->take(s, str_sub(text, 0, header_end(text)));
}

/* Order. */

static int compare_key(const struct sort *sort, size_t criterion, const struct sort_key *a,
                       const struct sort_key *b)
{
    if (sort->criteria[criterion] <= SORT_DATE) {
        return a->number < b->number ? -1 : a->number > b->number;
    }
    return str_compare(str_make(sort->texts.data + a->at, (size_t)a->number),
                       str_make(sort->texts.data + b->at, (size_t)b->number));
}

static int compare_items(const void *left, const void *right, void *context)
{
    const struct sort *sort = context;
    const struct sort_item *a = left;
    const struct sort_item *b = right;
    for (size_t i = 0; i < sort->count; i++) {
        int order = compare_key(sort, i, &a->keys[i], &b->keys[i]);
        if (order != 0) {
            return sort->reverse[i] ? -order : order;
        }
    }
    return a->uid < b->uid ? -1 : a->uid > b->uid; /* RFC 5256: by sequence number, never reversed */
}

static enum imap_request all_keys(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    struct sort *sort = search->more;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    if (sort->item_count > 1) {
        qsort_r(sort->items, sort->item_count, sort->item_size, compare_items, sort);
    }
    for (size_t i = 0; i < sort->item_count; i++) {
        search->hits[i] = item_at(sort, i)->uid;
    }
    search->hit_count = sort->item_count;
    if (search->extended) {
        return search_reply_extended(s, out, search->hits, search->hit_count);
    }
    buf_append_lit(out, "* SORT");
    for (size_t i = 0; i < search->hit_count; i++) {
        buf_append_char(out, ' ');
        buf_append_u64(out, search_number(s, search->hits[i]));
    }
    buf_append_lit(out, "\r\n");
    return imap_ok(s, out, "", "Sorted");
}

enum imap_request search_ask_hits(struct imap_server *s, bool header,
                                  bool (*take)(struct imap_server *s, struct str header),
                                  enum imap_request (*then)(struct imap_server *s, struct buf *out))
{
    struct search_command *search = s->data;
    imap_set_clear(&search->unknown);
    for (size_t i = 0; i < search->hit_count; i++) {
        imap_set_append(&search->unknown, search->hits[i], search->hits[i]);
    }
    search->take = take;
    s->message = message_came;
    s->bytes = bytes_came;
    s->ask.uids = &search->unknown;
    s->ask.want = header ? IMAP_WANT_META | IMAP_WANT_SUMMARY : IMAP_WANT_META;
    s->ask.texts = 1U << SUMMARY_FIELDS;
    s->ask.offset = 0;
    s->ask.length = SEARCH_HEADER_MAX;
    s->progress_goal += search->hit_count;
    return imap_ask(s, IMAP_MESSAGES, then);
}

static enum imap_request found(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    struct sort *sort = search->more;
    sort->item_size = sizeof(struct sort_item) + sort->count * sizeof(struct sort_key);
    sort->item_size = (sort->item_size + 7) / 8 * 8;
    sort->items = mem_zalloc(search->hit_count + 1, sort->item_size);
    if (sort->items == NULL) {
        return imap_no_answer(s, out, IMAP_LIMIT, false);
    }
    s->answer = IMAP_DONE;
    return search->hit_count == 0 ? all_keys(s, out)
                                  : search_ask_hits(s, needs_header(sort), take_item, all_keys);
}

/* "(REVERSE DATE SUBJECT)" */
static bool scan_criteria(struct imap_scan *scan, struct sort *sort)
{
    static const struct {
        struct str name;
        enum criterion criterion;
    } names[] = {{{"ARRIVAL", 7}, SORT_ARRIVAL},
                 {{"CC", 2}, SORT_CC},
                 {{"DATE", 4}, SORT_DATE},
                 {{"FROM", 4}, SORT_FROM},
                 {{"RELEVANCY", 9}, SORT_RELEVANCY},
                 {{"SIZE", 4}, SORT_SIZE},
                 {{"SUBJECT", 7}, SORT_SUBJECT},
                 {{"TO", 2}, SORT_TO},
                 {{"DISPLAYFROM", 11}, SORT_DISPLAY_FROM},
                 {{"DISPLAYTO", 9}, SORT_DISPLAY_TO}};
    enum { NAMES = sizeof(names) / sizeof(names[0]) };
    if (!imap_scan_space(scan) || !imap_scan_char(scan, '(')) {
        return false;
    }
    do {
        bool reverse = imap_scan_word(scan, STR("REVERSE"));
        size_t i = 0;
        if (sort->count == CRITERIA_MAX || (reverse && !imap_scan_space(scan))) {
            return false;
        }
        while (i < NAMES && !imap_scan_word(scan, names[i].name)) {
            i++;
        }
        if (i == NAMES) {
            scan->why = "a sort criterion";
            return false;
        }
        sort->reverse[sort->count] = reverse;
        sort->criteria[sort->count++] = names[i].criterion;
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    return imap_scan_char(scan, ')');
}

enum imap_request search_keys_of(struct imap_server *s, struct imap_scan *scan, struct buf *out,
                                 const char *words,
                                 enum imap_request (*then)(struct imap_server *s, struct buf *out))
{
    struct search_command *search = s->data;
    scan->utf8 = true;
    if (!imap_scan_space(scan) || !imap_scan_astring(scan, &s->search_charset) || !imap_scan_space(scan)) {
        return imap_bad(s, out, scan, words);
    }
    if (!search_is_charset(s->search_charset)) {
        return imap_no(s, out, "[BADCHARSET (UTF-8 US-ASCII)] ", "This charset is not known here");
    }
    if (!search_parse(s, scan, s->wall_ms, &search->program)) {
        return search_bad(s, out, scan, words);
    }
    enum imap_request request;
    search->scored = search->scored || (search->give & SEARCH_RETURN_RELEVANCY) != 0;
    return search_may_score(s, out, &request) ? search_run(s, out, then) : request;
}

enum imap_request imap_command_sort(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct search_command *search = search_begin(s);
    struct sort *sort = mem_new(struct sort);
    if (search == NULL || sort == NULL) {
        mem_free(sort);
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    sort->texts = buf_make(TEXTS_MAX);
    search->more = sort;
    search->free_more = free_sort;
    if (!search_scan_return(s, scan, search) || !scan_criteria(scan, sort)) {
        return imap_bad(s, out, scan, "SORT takes criteria in brackets, a charset and search keys");
    }
    for (size_t i = 0; i < sort->count; i++) {
        search->scored = search->scored || sort->criteria[i] == SORT_RELEVANCY;
    }
    return search_keys_of(s, scan, out, "SORT takes criteria in brackets, a charset and search keys", found);
}

/*
 * THREAD by ORDEREDSUBJECT and by REFERENCES (RFC 5256, section 3): a search, then the ids, subject and date of each hit, then a
 * forest of containers. Ids are numbered by sorting them, so no input makes a table slow; nothing recurses.
 */
#include "imap/search_private.h"

#include "base/mem.h"
#include "message/fold.h"
#include "message/header.h"
#include "message/msgid.h"
#include "message/subject.h"

#include <stdlib.h>

enum { TEXTS_MAX = 512 << 20, REFERENCES_MAX = 100 };

#define NONE UINT32_MAX

struct text {
    size_t at;
    size_t len;
};

struct thread_item {
    uint32_t uid;
    bool is_reply;
    uint64_t sent_ms;
    struct text subject; /* the base, folded */
    uint32_t first_id;   /* of the ids: its own, then its references, oldest first */
    uint32_t id_count;
    uint32_t container;
};

/* A message, or the place of one that is not there. Links are indexes. */
struct container {
    uint32_t item; /* NONE: a dummy */
    uint32_t parent;
    uint32_t child;
    uint32_t next;
    uint32_t set; /* of the union of trees that are joined; a root names itself */
};

struct thread {
    bool by_subject;
    struct thread_item *items;
    size_t item_count;
    struct buf texts;
    struct buf ids;    /* struct text, one an occurrence */
    uint32_t *numbers; /* of occurrences: the container of that id */
    struct container *containers;
    size_t container_count;
    size_t container_room;
    uint32_t roots; /* the first of the list */
    uint32_t *list; /* room for sorting siblings */
};

static void free_thread(void *more)
{
    struct thread *t = more;
    mem_free(t->items);
    mem_free(t->numbers);
    mem_free(t->containers);
    mem_free(t->list);
    buf_free(&t->texts);
    buf_free(&t->ids);
    mem_free(t);
}

static struct str text_of(const struct thread *t, struct text text)
{
    return text.len == 0 ? STR_EMPTY : str_make(t->texts.data + text.at, text.len);
}

/* Gathering. */

static bool keep_text(struct thread *t, struct str text, struct text *kept)
{
    *kept = (struct text){t->texts.len, text.len};
    return buf_append_str(&t->texts, text);
}

static bool add_id(struct thread *t, struct thread_item *item, struct str id)
{
    struct text text = {.at = t->texts.len};
    if (!msgid_append_normal(id, &t->texts)) {
        return false;
    }
    text.len = t->texts.len - text.at;
    item->id_count++;
    return buf_append(&t->ids, &text, sizeof(text));
}

/* References, the newest REFERENCES_MAX of them; without any the first id of In-Reply-To. */
static bool add_references(struct thread *t, struct thread_item *item, struct str header)
{
    struct header_field field;
    struct str found[REFERENCES_MAX];
    size_t count = 0;
    struct str id;
    if (header_find(header, STR("References"), &field)) {
        struct msgid_list list = {.text = field.value};
        while (msgid_next(&list, &id)) {
            found[count++ % REFERENCES_MAX] = id;
        }
    }
    if (count == 0 && header_find(header, STR("In-Reply-To"), &field)) {
        struct msgid_list list = {.text = field.value};
        if (msgid_next(&list, &id)) {
            found[count++] = id;
        }
    }
    size_t kept = count < REFERENCES_MAX ? count : REFERENCES_MAX;
    for (size_t i = count - kept; i < count; i++) {
        if (!add_id(t, item, found[i % REFERENCES_MAX])) {
            return false;
        }
    }
    return true;
}

static bool add_subject(struct thread *t, struct thread_item *item, struct str header)
{
    struct header_field field;
    struct buf base = buf_make(65536);
    struct buf folded = buf_make(262144);
    bool fine = !header_find(header, STR("Subject"), &field) ||
                subject_append_base(field.value, &item->is_reply, &base);
    fine = fine && fold_text(buf_str(&base), &folded) &&
           keep_text(t, str_sub(buf_str(&folded), 0, 1024), &item->subject);
    buf_free(&base);
    buf_free(&folded);
    return fine;
}

static bool take_item(struct imap_server *s, struct str header)
{
    struct search_command *search = s->data;
    struct thread *t = search->more;
    struct header_field field;
    struct str id = STR_EMPTY;
    if (t->item_count == search->hit_count || search->entry == NULL) {
        return true;
    }
    struct thread_item *item = &t->items[t->item_count++];
    *item = (struct thread_item){.uid = search->message.uid,
                                 .sent_ms = search_sent_ms(header, search->message.internal_ms),
                                 .first_id = (uint32_t)(t->ids.len / sizeof(struct text))};
    if (header_find(header, STR("Message-ID"), &field) && !msgid_single(field.value, &id)) {
        id = STR_EMPTY;
    }
    return add_subject(t, item, header) &&
           (t->by_subject || (add_id(t, item, id) && add_references(t, item, header)));
}

/* Containers. */

static int compare_ids(const void *left, const void *right, void *context)
{
    const struct thread *t = context;
    const struct text *ids = (const struct text *)(const void *)t->ids.data;
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    int order = str_compare(text_of(t, ids[a]), text_of(t, ids[b]));
    return order != 0 ? order : a < b ? -1 : a > b;
}

static uint32_t add_container(struct thread *t)
{
    if (t->container_count == t->container_room) {
        return NONE;
    }
    uint32_t number = (uint32_t)t->container_count++;
    t->containers[number] =
        (struct container){.item = NONE, .parent = NONE, .child = NONE, .next = NONE, .set = number};
    return number;
}

/* Equal ids get one container; those without an id none yet. */
static bool number_ids(struct thread *t)
{
    size_t count = t->ids.len / sizeof(struct text);
    const struct text *ids = (const struct text *)(const void *)t->ids.data;
    uint32_t *order = mem_zalloc(count + 1, sizeof(*order));
    t->numbers = mem_zalloc(count + 1, sizeof(*t->numbers));
    /* One an id, one for each message whose id is missing or taken, one for each pair that a subject joins. */
    t->container_room = count + 2 * t->item_count + 1;
    t->containers = mem_zalloc(t->container_room, sizeof(*t->containers));
    t->list = mem_zalloc(t->container_room, sizeof(*t->list));
    if (order == NULL || t->numbers == NULL || t->containers == NULL || t->list == NULL) {
        mem_free(order);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = (uint32_t)i;
    }
    if (count > 1) {
        qsort_r(order, count, sizeof(*order), compare_ids, t);
    }
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && ids[order[i]].len > 0 &&
                    str_equal(text_of(t, ids[order[i]]), text_of(t, ids[order[i - 1]]));
        t->numbers[order[i]] = same                     ? t->numbers[order[i - 1]]
                               : ids[order[i]].len == 0 ? NONE
                                                        : add_container(t);
    }
    mem_free(order);
    return true;
}

static uint32_t set_of(struct thread *t, uint32_t number)
{
    while (t->containers[number].set != number) {
        t->containers[number].set = t->containers[t->containers[number].set].set;
        number = t->containers[number].set;
    }
    return number;
}

/* Whether `above` stands somewhere over `number`, or is it. Trees that were never joined need no walk. */
static bool is_over(struct thread *t, uint32_t above, uint32_t number)
{
    if (set_of(t, above) != set_of(t, number)) {
        return false;
    }
    for (size_t steps = 0; number != NONE && steps <= t->container_count; steps++) {
        if (number == above) {
            return true;
        }
        number = t->containers[number].parent;
    }
    return false;
}

static void link_child(struct thread *t, uint32_t parent, uint32_t child)
{
    t->containers[child].parent = parent;
    t->containers[child].next = t->containers[parent].child;
    t->containers[parent].child = child;
    t->containers[set_of(t, child)].set = set_of(t, parent);
}

static void unlink_child(struct thread *t, uint32_t child)
{
    uint32_t parent = t->containers[child].parent;
    if (parent == NONE) {
        return;
    }
    uint32_t *link = &t->containers[parent].child;
    while (*link != child) {
        link = &t->containers[*link].next;
    }
    *link = t->containers[child].next;
    t->containers[child].parent = NONE;
    t->containers[child].next = NONE;
}

/* RFC 5256, REFERENCES, step 1. */
static void place_item(struct thread *t, struct thread_item *item)
{
    uint32_t own = t->numbers[item->first_id];
    if (own == NONE || t->containers[own].item != NONE) {
        own = add_container(t);
    }
    item->container = own;
    t->containers[own].item = (uint32_t)(item - t->items);
    uint32_t before = NONE;
    for (uint32_t i = 1; i < item->id_count; i++) {
        uint32_t number = t->numbers[item->first_id + i];
        if (number == NONE || number == before) {
            continue;
        }
        if (before != NONE && t->containers[number].parent == NONE && !is_over(t, number, before)) {
            link_child(t, before, number);
        }
        before = number;
    }
    if (before == NONE) {
        return;
    }
    unlink_child(t, own); /* what others said of its parent was less than what it says itself */
    if (!is_over(t, own, before)) {
        link_child(t, before, own);
    }
}

/* Lists of siblings. */

static uint64_t date_of(const struct thread *t, uint32_t number)
{
    const struct container *c = &t->containers[number];
    if (c->item == NONE && c->child != NONE) {
        c = &t->containers[c->child]; /* a dummy's children are messages, and sorted before it */
    }
    return c->item == NONE ? 0 : t->items[c->item].sent_ms;
}

static int compare_siblings(const void *left, const void *right, void *context)
{
    const struct thread *t = context;
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    uint64_t date_a = date_of(t, a);
    uint64_t date_b = date_of(t, b);
    if (date_a != date_b) {
        return date_a < date_b ? -1 : 1;
    }
    const struct container *first = &t->containers[a];
    const struct container *second = &t->containers[b];
    uint32_t uid_a =
        first->item != NONE ? t->items[first->item].uid : t->items[t->containers[first->child].item].uid;
    uint32_t uid_b =
        second->item != NONE ? t->items[second->item].uid : t->items[t->containers[second->child].item].uid;
    return uid_a < uid_b ? -1 : uid_a > uid_b;
}

static void sort_list(struct thread *t, uint32_t *head)
{
    size_t count = 0;
    for (uint32_t i = *head; i != NONE; i = t->containers[i].next) {
        t->list[count++] = i;
    }
    if (count < 2) {
        return;
    }
    qsort_r(t->list, count, sizeof(*t->list), compare_siblings, t);
    uint32_t next = NONE;
    while (count > 0) {
        t->containers[t->list[--count]].next = next;
        next = t->list[count];
    }
    *head = next;
}

/* The container behind this one when children come before their parents; NONE at the end of the forest. */
static uint32_t first_leaf(const struct thread *t, uint32_t number)
{
    while (t->containers[number].child != NONE) {
        number = t->containers[number].child;
    }
    return number;
}

/* Step 3: dummies without children go; children of others take their place, but for a root with several. */
static void prune_list(struct thread *t, uint32_t *head, bool is_root)
{
    uint32_t *link = head;
    while (*link != NONE) {
        struct container *c = &t->containers[*link];
        uint32_t child = c->child;
        bool several = child != NONE && t->containers[child].next != NONE;
        if (c->item != NONE || (is_root && several)) {
            link = &c->next;
        } else if (child == NONE) {
            *link = c->next;
        } else {
            uint32_t last = child;
            t->containers[child].parent = c->parent;
            while (t->containers[last].next != NONE) {
                last = t->containers[last].next;
                t->containers[last].parent = c->parent;
            }
            t->containers[last].next = c->next;
            *link = child;
        }
    }
}

/* Calls prune and sort for the children of every container, leaves first. */
static void settle(struct thread *t, bool prune)
{
    for (uint32_t root = t->roots; root != NONE; root = t->containers[root].next) {
        uint32_t at = first_leaf(t, root);
        for (;;) {
            struct container *c = &t->containers[at];
            if (prune) {
                prune_list(t, &c->child, false);
            }
            sort_list(t, &c->child);
            if (at == root) {
                break;
            }
            at = c->next != NONE ? first_leaf(t, c->next) : c->parent;
        }
    }
}

/* Step 5: threads of one base subject become one. */

static const struct thread_item *subject_item(const struct thread *t, uint32_t number)
{
    const struct container *c = &t->containers[number];
    return &t->items[c->item != NONE ? c->item : t->containers[c->child].item];
}

static int compare_subjects(const void *left, const void *right, void *context)
{
    const struct thread *t = context;
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    int order = str_compare(text_of(t, subject_item(t, a)->subject), text_of(t, subject_item(t, b)->subject));
    return order != 0 ? order : compare_siblings(left, right, context);
}

static bool is_dummy(const struct thread *t, uint32_t number)
{
    return t->containers[number].item == NONE;
}

/* The thread of a subject that the others join: a dummy, else one that is no reply, else the oldest. */
static uint32_t leader_of(const struct thread *t, const uint32_t *same, size_t count)
{
    uint32_t leader = same[0];
    for (size_t i = 1; i < count; i++) {
        bool better = (is_dummy(t, same[i]) && !is_dummy(t, leader)) ||
                      (!is_dummy(t, leader) && subject_item(t, leader)->is_reply &&
                       !subject_item(t, same[i])->is_reply);
        leader = better ? same[i] : leader;
    }
    return leader;
}

static void add_child(struct thread *t, uint32_t parent, uint32_t child)
{
    t->containers[child].parent = parent;
    t->containers[child].next = t->containers[parent].child;
    t->containers[parent].child = child;
}

static uint32_t join(struct thread *t, uint32_t leader, uint32_t other)
{
    if (is_dummy(t, leader) && is_dummy(t, other)) {
        while (t->containers[other].child != NONE) {
            uint32_t child = t->containers[other].child;
            t->containers[other].child = t->containers[child].next;
            add_child(t, leader, child);
        }
        return leader;
    }
    if (is_dummy(t, leader) || (subject_item(t, other)->is_reply && !subject_item(t, leader)->is_reply)) {
        add_child(t, leader, other);
        return leader;
    }
    uint32_t both = add_container(t);
    add_child(t, both, leader);
    add_child(t, both, other);
    return both;
}

static void join_subjects(struct thread *t)
{
    size_t count = 0;
    uint32_t *roots = mem_zalloc(t->container_count + 1, sizeof(*roots));
    if (roots == NULL) {
        return; /* the threads are right without it, only more of them */
    }
    for (uint32_t i = t->roots; i != NONE; i = t->containers[i].next) {
        roots[count++] = i;
    }
    if (count > 1) {
        qsort_r(roots, count, sizeof(*roots), compare_subjects, t);
    }
    t->roots = NONE;
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;
        struct str subject = text_of(t, subject_item(t, roots[i])->subject);
        while (end < count && subject.len > 0 &&
               str_equal(subject, text_of(t, subject_item(t, roots[end])->subject))) {
            end++;
        }
        uint32_t leader = leader_of(t, &roots[i], end - i);
        uint32_t thread = leader;
        for (; i < end; i++) {
            thread = roots[i] == leader ? thread : join(t, thread, roots[i]);
        }
        t->containers[thread].parent = NONE;
        t->containers[thread].next = t->roots;
        t->roots = thread;
    }
    mem_free(roots);
}

static bool by_references(struct thread *t)
{
    if (!number_ids(t)) {
        return false;
    }
    for (size_t i = 0; i < t->item_count; i++) {
        place_item(t, &t->items[i]);
    }
    t->roots = NONE;
    for (size_t i = t->container_count; i > 0; i--) {
        if (t->containers[i - 1].parent == NONE) {
            t->containers[i - 1].next = t->roots;
            t->roots = (uint32_t)(i - 1);
        }
    }
    settle(t, true);
    prune_list(t, &t->roots, true);
    sort_list(t, &t->roots);
    join_subjects(t);
    settle(t, false);
    sort_list(t, &t->roots);
    return true;
}

/* RFC 5256, ORDEREDSUBJECT: the oldest of a subject is the parent of all others of it. */
static bool by_subject(struct thread *t)
{
    uint32_t parent = NONE;
    t->container_room = t->item_count + 1;
    t->containers = mem_zalloc(t->container_room, sizeof(*t->containers));
    t->list = mem_zalloc(t->container_room, sizeof(*t->list));
    uint32_t *order = mem_zalloc(t->container_room, sizeof(*order));
    if (t->containers == NULL || t->list == NULL || order == NULL) {
        mem_free(order);
        return false;
    }
    for (size_t i = 0; i < t->item_count; i++) {
        order[i] = add_container(t);
        t->containers[i].item = (uint32_t)i;
    }
    if (t->item_count > 1) {
        qsort_r(order, t->item_count, sizeof(*order), compare_subjects, t);
    }
    t->roots = NONE;
    for (size_t i = 0; i < t->item_count; i++) {
        bool same = parent != NONE && str_equal(text_of(t, subject_item(t, parent)->subject),
                                                text_of(t, subject_item(t, order[i])->subject));
        if (same) {
            add_child(t, parent, order[i]);
        } else {
            parent = order[i];
            t->containers[parent].next = t->roots;
            t->roots = parent;
        }
    }
    mem_free(order);
    settle(t, false);
    sort_list(t, &t->roots);
    return true;
}

/* The reply. */

static void write_thread(struct imap_server *s, const struct thread *t, uint32_t root, struct buf *out)
{
    uint32_t at = root;
    buf_append_char(out, '(');
    for (;;) {
        const struct container *c = &t->containers[at];
        uint32_t child = c->child;
        if (c->item != NONE) {
            buf_append_u64(out, search_number(s, t->items[c->item].uid));
        }
        if (child != NONE) {
            bool several = t->containers[child].next != NONE;
            buf_append_str(out, c->item == NONE ? STR_EMPTY : STR(" "));
            buf_append_str(out, several ? STR("(") : STR_EMPTY);
            at = child;
            continue;
        }
        /* Up to where there is a sibling; a bracket was opened for each of several. */
        while (at != root) {
            const struct container *parent = &t->containers[t->containers[at].parent];
            bool several = t->containers[parent->child].next != NONE;
            buf_append_str(out, several ? STR(")") : STR_EMPTY);
            if (t->containers[at].next != NONE) {
                buf_append_char(out, '(');
                at = t->containers[at].next;
                break;
            }
            at = t->containers[at].parent;
        }
        if (at == root) {
            break;
        }
    }
    buf_append_char(out, ')');
}

static enum imap_request all_items(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    struct thread *t = search->more;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    if (!(t->by_subject ? by_subject(t) : by_references(t))) {
        return imap_no_answer(s, out, IMAP_LIMIT, false);
    }
    buf_append_lit(out, "* THREAD");
    buf_append_str(out, t->roots == NONE ? STR_EMPTY : STR(" "));
    for (uint32_t i = t->roots; i != NONE; i = t->containers[i].next) {
        write_thread(s, t, i, out);
    }
    buf_append_lit(out, "\r\n");
    return imap_ok(s, out, "", "Threaded");
}

static enum imap_request found(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    struct thread *t = search->more;
    t->items = mem_zalloc(search->hit_count + 1, sizeof(*t->items));
    if (t->items == NULL) {
        return imap_no_answer(s, out, IMAP_LIMIT, false);
    }
    s->answer = IMAP_DONE;
    return search->hit_count == 0 ? all_items(s, out) : search_ask_hits(s, true, take_item, all_items);
}

enum imap_request imap_command_thread(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    static const char words[] = "THREAD takes ORDEREDSUBJECT or REFERENCES, a charset and search keys";
    struct search_command *search = search_begin(s);
    struct thread *t = mem_new(struct thread);
    if (search == NULL || t == NULL) {
        mem_free(t);
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    t->texts = buf_make(TEXTS_MAX);
    t->ids = buf_make(TEXTS_MAX);
    search->more = t;
    search->free_more = free_thread;
    if (!imap_scan_space(scan)) {
        return imap_bad(s, out, scan, words);
    }
    t->by_subject = imap_scan_word(scan, STR("ORDEREDSUBJECT"));
    if (!t->by_subject && !imap_scan_word(scan, STR("REFERENCES"))) {
        return imap_bad(s, out, NULL, words);
    }
    return search_keys_of(s, scan, out, words, found);
}

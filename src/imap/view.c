/* What a session knows of its selected mailbox; see view.h. */
#include "imap/view.h"

#include "base/mem.h"

void imap_view_free(struct imap_view *view)
{
    mem_free(view->entries);
    *view = (struct imap_view){.entries = NULL};
}

size_t imap_view_find(const struct imap_view *view, uint32_t uid)
{
    size_t low = 0;
    size_t high = view->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (view->entries[middle].uid < uid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct imap_entry *imap_view_entry(struct imap_view *view, uint32_t uid)
{
    size_t at = view->next;
    if (at >= view->count || view->entries[at].uid != uid) {
        at = imap_view_find(view, uid);
    }
    if (at >= view->count || view->entries[at].uid != uid) {
        return NULL;
    }
    view->next = at + 1;
    return &view->entries[at];
}

uint32_t imap_view_last_uid(const struct imap_view *view)
{
    return view->count == 0 ? 0 : view->entries[view->count - 1].uid;
}

static bool set_room(struct imap_view *view, size_t room)
{
    struct imap_entry *entries = mem_realloc(view->entries, room * sizeof(*entries));
    if (entries == NULL) {
        return false;
    }
    view->entries = entries;
    view->room = room;
    return true;
}

void imap_view_reserve(struct imap_view *view, size_t count)
{
    if (count > view->room) {
        set_room(view, count);
    }
}

static bool make_room(struct imap_view *view, size_t more)
{
    size_t grown = view->room < 16 ? 16 : view->room + view->room / 2;
    size_t need = view->count + more;
    return need <= view->room || set_room(view, need > grown ? need : grown);
}

void imap_view_announce(struct imap_view *view, struct imap_entry *entry)
{
    view->changed += !entry->changed;
    entry->changed = true;
}

static void update(struct imap_view *view, struct imap_entry *entry, uint64_t flags, uint64_t modseq,
                   enum imap_announce announce)
{
    if (modseq <= entry->modseq) {
        return; /* known, or older than what is */
    }
    if (announce == IMAP_ANNOUNCE_ALL || (announce == IMAP_ANNOUNCE_FLAGS && flags != entry->flags)) {
        imap_view_announce(view, entry);
    }
    entry->flags = flags;
    entry->modseq = modseq;
}

static uint64_t modseq_of(const struct imap_run *run, uint32_t at)
{
    return run->modseq + (run->rising ? at : 0);
}

bool imap_view_merge(struct imap_view *view, const struct imap_run *run, enum imap_announce announce)
{
    uint32_t last = imap_view_last_uid(view);
    uint64_t possible = (uint64_t)UINT32_MAX - run->uid + 1;
    uint32_t count = run->count < possible ? run->count : (uint32_t)possible;
    uint32_t at = 0;
    for (; at < count && run->uid + at <= last; at++) {
        struct imap_entry *entry = imap_view_entry(view, run->uid + at);
        if (entry != NULL) {
            update(view, entry, run->flags, modseq_of(run, at), announce);
        }
    }
    if (!make_room(view, count - at)) {
        return false;
    }
    for (; at < count; at++) {
        view->entries[view->count++] =
            (struct imap_entry){.uid = run->uid + at, .flags = run->flags, .modseq = modseq_of(run, at)};
    }
    return true;
}

void imap_view_vanish(struct imap_view *view, const struct imap_range *range)
{
    for (size_t i = imap_view_find(view, range->first);
         i < view->count && view->entries[i].uid <= range->last; i++) {
        if (!view->entries[i].gone) {
            view->entries[i].gone = true;
            view->gone++;
        }
    }
}

bool imap_view_to_uids(const struct imap_view *view, const struct imap_set *numbers, struct imap_set *uids)
{
    imap_set_clear(uids);
    for (size_t r = 0; r < numbers->count; r++) {
        uint32_t first = numbers->ranges[r].first;
        for (size_t i = first == 0 ? 0 : first - 1; i < view->count && i < numbers->ranges[r].last; i++) {
            if (!view->entries[i].gone &&
                !imap_set_append(uids, view->entries[i].uid, view->entries[i].uid)) {
                return false;
            }
        }
    }
    return true;
}

bool imap_view_existing(const struct imap_view *view, const struct imap_set *uids, struct imap_set *existing)
{
    imap_set_clear(existing);
    for (size_t r = 0; r < uids->count; r++) {
        size_t i = imap_view_find(view, uids->ranges[r].first);
        for (; i < view->count && view->entries[i].uid <= uids->ranges[r].last; i++) {
            if (!view->entries[i].gone &&
                !imap_set_append(existing, view->entries[i].uid, view->entries[i].uid)) {
                return false;
            }
        }
    }
    return true;
}

void imap_view_expunge(struct imap_view *view, void (*each)(void *context, uint32_t number, uint32_t uid),
                       void *context)
{
    size_t kept = 0;
    size_t told = view->told;
    for (size_t i = 0; view->gone > 0 && i < view->count; i++) {
        const struct imap_entry *entry = &view->entries[i];
        if (!entry->gone) {
            view->entries[kept++] = *entry;
            continue;
        }
        view->changed -= entry->changed;
        if (i < told) {
            view->told--;
            if (each != NULL) {
                each(context, (uint32_t)(kept + 1), entry->uid);
            }
        }
    }
    if (view->gone > 0) {
        view->count = kept;
        view->gone = 0;
    }
}

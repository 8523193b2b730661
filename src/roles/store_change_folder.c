/*
 * Changes of mailboxes as such: made, removed, renamed, subscribed to, their annotations and access control lists. What RFC 4314,
 * section 4, asks for is looked up here, for every change anew. Part of the store role.
 */
#include "roles/store_change_private.h"

#include "base/clock.h"
#include "store/annotation.h"

#include <string.h>

static int finish_folder(struct store_change *c, enum folder_result result)
{
    static const enum change_result results[] = {
        [FOLDER_DONE] = CHANGE_RESULT_DONE,     [FOLDER_MISSING] = CHANGE_RESULT_MISSING,
        [FOLDER_EXISTS] = CHANGE_RESULT_EXISTS, [FOLDER_CANNOT] = CHANGE_RESULT_CANNOT,
        [FOLDER_LIMIT] = CHANGE_RESULT_LIMIT,   [FOLDER_ERROR] = CHANGE_RESULT_TEMPORARY};
    c->result = results[result];
    return result == FOLDER_ERROR ? -1 : 0;
}

/*
 * Whether the account may make a mailbox of this name: its own, or below one that it has the right for. Whatever there is or
 * is not in the account of another, without that right the answer is the same.
 */
static int may_create(struct store *s, struct store_change *c, const struct acl_place *place)
{
    struct mailbox parent;
    uint32_t rights;
    if (place->owner == c->account) {
        return 1;
    }
    for (size_t i = place->name.len; i-- > 0;) {
        int found = place->name.data[i] != '/'
                        ? 0
                        : folder_find(s->index, place->owner, str_sub(place->name, 0, i), &parent);
        if (found < 0 || (found == 1 && acl_rights(s->index, c->account, &parent, &rights) != 0)) {
            return -1;
        }
        if (found == 1) {
            return (rights & RIGHT_CREATE) != 0 ? 1 : change_refuse(c, CHANGE_RESULT_REFUSED);
        }
    }
    return change_refuse(c, CHANGE_RESULT_REFUSED);
}

int change_create(struct store *s, struct store_change *c)
{
    struct mailbox mailbox;
    struct acl_place place = {.owner = 0};
    int found = acl_place(s->index, c->account, buf_str(&c->name), &place);
    if (found == 0 || (found == 1 && place.owner == c->account && is_other_users(place.name))) {
        return change_refuse(c, CHANGE_RESULT_REFUSED);
    }
    int may = found == 1 ? may_create(s, c, &place) : -1;
    if (may <= 0) {
        return may;
    }
    if (place.owner != c->account && c->special_use != 0) {
        return change_refuse(c, CHANGE_RESULT_CANNOT); /* what it is used for is the owner's to say */
    }
    enum folder_result result =
        folder_create(s->index, place.owner, place.name, c->special_use, clock_wall_ms(), &mailbox);
    if (result == FOLDER_DONE) {
        folder_object_id(&mailbox, c->id);
        c->uid_validity = mailbox.uid_validity;
    }
    return finish_folder(c, result);
}

int change_delete(struct store *s, struct store_change *c)
{
    struct mailbox mailbox;
    uint32_t rights;
    struct acl_place place = {.owner = 0};
    int found = change_find(s, c, buf_str(&c->name), RIGHT_REMOVE, &mailbox, &rights);
    found = found == 1 ? acl_place(s->index, c->account, buf_str(&c->name), &place) : found;
    return found == 1 ? finish_folder(c, folder_delete(s->index, place.owner, place.name)) : found;
}

int change_rename(struct store *s, struct store_change *c)
{
    struct mailbox mailbox;
    uint32_t rights;
    struct acl_place from = {.owner = 0};
    struct acl_place to = {.owner = 0};
    int found = change_find(s, c, buf_str(&c->name), RIGHT_REMOVE, &mailbox, &rights);
    found = found == 1 ? acl_place(s->index, c->account, buf_str(&c->name), &from) : found;
    if (found <= 0) {
        return found;
    }
    found = acl_place(s->index, c->account, buf_str(&c->other_name), &to);
    /* From one account to another nothing is renamed; what is there, or is not, makes no difference to the answer. */
    if (found == 0 || (found == 1 && to.owner != from.owner)) {
        return change_refuse(c, CHANGE_RESULT_CANNOT);
    }
    if (found == 1 && from.owner != c->account && mailbox.id == MAILBOX_INBOX) {
        return change_refuse(c, CHANGE_RESULT_CANNOT);
    }
    found = found == 1 ? may_create(s, c, &to) : found;
    return found == 1
               ? finish_folder(c, folder_rename(s->index, from.owner, from.name, to.name, clock_wall_ms()))
               : found;
}

/* Any name can be subscribed to (RFC 9051, section 6.3.7), so nobody learns by it what there is. */
int change_subscribe(struct store *s, struct store_change *c)
{
    char area[FOLDER_NAME_MAX];
    struct buf name = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    acl_canonical(buf_str(&c->name), &name);
    c->result = CHANGE_RESULT_DONE;
    if (!buf_ok(&name)) {
        return change_refuse(c, CHANGE_RESULT_CANNOT);
    }
    return folder_subscribe(s->index, c->account, buf_str(&name), c->kind == CHANGE_KIND_SUBSCRIBE);
}

/* One entry from the front: 16 bits its length, 32 bits the value's, both; *removes: it has none. */
static bool next_annotation(struct str *packed, struct str *entry, struct str *value, bool *removes)
{
    if (packed->len < 6) {
        return false;
    }
    size_t entry_len = read_le16(packed->data);
    uint32_t value_len = read_le32(packed->data + 2);
    *removes = value_len == UINT32_MAX;
    value_len = *removes ? 0 : value_len;
    if (entry_len == 0 || entry_len > ANNOTATION_ENTRY_MAX || value_len > ANNOTATION_VALUE_MAX ||
        packed->len - 6 < entry_len + value_len) {
        return false;
    }
    *entry = str_sub(*packed, 6, 6 + entry_len);
    *value = str_sub(*packed, 6 + entry_len, 6 + entry_len + value_len);
    *packed = str_from(*packed, 6 + entry_len + value_len);
    return true;
}

/* Whether all entries are good and find room; c->result says what not. Private ones are the owner's alone. -1. */
static int check_annotations(struct store *s, struct store_change *c, const struct mailbox *mailbox)
{
    struct str rest = buf_str(&c->ranges);
    struct str entry;
    struct str value;
    bool removes;
    int64_t of_mailbox;
    int64_t of_account;
    int64_t added = 0;
    bool allowed = true;
    if (annotation_count(s->index, mailbox->account, mailbox->id, &of_mailbox, &of_account) != 0) {
        return -1;
    }
    while (next_annotation(&rest, &entry, &value, &removes)) {
        int there = removes ? 1 : annotation_exists(s->index, mailbox->account, mailbox->id, entry);
        if (there < 0) {
            return -1;
        }
        added += there == 0;
        allowed = allowed && (mailbox->account == c->account || str_starts(entry, STR("/shared/")));
    }
    bool room = added == 0 ||
                (of_mailbox + added <= ANNOTATIONS_MAX && of_account + added <= ANNOTATIONS_ACCOUNT_MAX);
    c->result = rest.len > 0 || !allowed ? CHANGE_RESULT_REFUSED
                : room                   ? CHANGE_RESULT_DONE
                                         : CHANGE_RESULT_LIMIT;
    return 0;
}

int change_metadata(struct store *s, struct store_change *c)
{
    struct mailbox mailbox = {.account = c->account, .id = 0};
    uint32_t rights;
    struct str rest = buf_str(&c->ranges);
    struct str entry;
    struct str value;
    bool removes;
    int found = c->name.len == 0
                    ? 1
                    : change_find(s, c, buf_str(&c->name), RIGHT_LOOKUP | RIGHT_WRITE, &mailbox, &rights);
    if (found <= 0) {
        return found;
    }
    if (check_annotations(s, c, &mailbox) != 0) {
        return -1;
    }
    while (c->result == CHANGE_RESULT_DONE && next_annotation(&rest, &entry, &value, &removes)) {
        if (annotation_set(s->index, mailbox.account, mailbox.id, entry, removes ? NULL : &value) != 0) {
            return -1;
        }
    }
    return 0;
}

/* The rights that the entry has now. -1. */
static int current_rights(struct store *s, const struct mailbox *mailbox, const struct acl_entry *wanted,
                          uint32_t *rights)
{
    struct acl_entry entries[ACL_ENTRIES_MAX];
    int count = acl_entries(s->index, mailbox->account, mailbox->id, entries);
    *rights = 0;
    for (int i = 0; i < count; i++) {
        if (entries[i].grantee == wanted->grantee && entries[i].negative == wanted->negative) {
            *rights = entries[i].rights;
        }
    }
    return count < 0 ? -1 : 0;
}

/* SETACL and DELETEACL. */
int change_acl(struct store *s, struct store_change *c)
{
    struct mailbox mailbox;
    uint32_t rights;
    uint32_t now;
    struct acl_entry entry;
    int found = change_find(s, c, buf_str(&c->name), RIGHT_ADMINISTER, &mailbox, &rights);
    if (found <= 0) {
        return found;
    }
    found = acl_identifier(s->index, buf_str(&c->other_name), &entry);
    if (found <= 0) {
        return found < 0 ? -1 : change_refuse(c, CHANGE_RESULT_NOBODY);
    }
    if (entry.grantee == mailbox.account) {
        return change_refuse(c, CHANGE_RESULT_CANNOT); /* the owner has all rights always */
    }
    if (current_rights(s, &mailbox, &entry, &now) != 0) {
        return -1;
    }
    uint32_t given = (uint32_t)c->acl_rights & RIGHTS_ALL;
    entry.rights = c->operation == FLAGS_REPLACE ? given
                   : c->operation == FLAGS_ADD   ? now | given
                                                 : now & ~given;
    int set = acl_set(s->index, mailbox.account, mailbox.id, &entry);
    c->result = set == 1 ? CHANGE_RESULT_DONE : CHANGE_RESULT_LIMIT;
    return set < 0 ? -1 : 0;
}

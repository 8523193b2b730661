/*
 * The store among hostile peers (goals G12, G18 and G19): smtpd and imapd write any records and say anything of them, relay and
 * keys say anything. It goes on, log and index agree, and an account for which nobody has a grant or mail stays as it was, though
 * who has a grant for another may read there; where it may do everything, anything may happen.
 *
 * The store lives as long as the fuzzer; each input comes from peers that are new.
 */
#include "driver.h"
#include "ipc/proto_change.h"
#include "ipc/proto_credential.h"
#include "ipc/proto_log.h"
#include "ipc/proto_queue.h"
#include "roles/store_private.h"
#include "store/acl.h"
#include "store/folder.h"
#include "store/verify.h"

#include <stdio.h>

enum { VERIFY_EVERY = 200 };

static const char config_text[] = "hostname = \"mail.example.org\"\n"
                                  "domain example.org { }\n"
                                  "domain relay.example { relay = true }\n"
                                  "store { apply_interval = 1 reserve = 0 full_text_from = 1 }\n";

static struct driver driver;
static int64_t victim;
enum { MAY_READ = RIGHT_LOOKUP | RIGHT_READ };

static int64_t add_account(struct store *s, struct str address)
{
    struct account account;
    struct mailbox mailbox;
    driver_require(store_begin(s));
    driver_require(account_add(s->index, address, STR("verifier"), -1, 1700000000000, &account) == 0);
    driver_require(folder_create(s->index, account.id, STR("Archive"), 0, 1700000000000, &mailbox) ==
                   FOLDER_DONE);
    driver_require(store_commit(s));
    return account.id;
}

static void share(struct store *s, int64_t owner, int64_t with, uint32_t rights)
{
    const struct acl_entry entry = {.grantee = with, .rights = rights};
    struct mailbox mailbox;
    driver_require(store_begin(s) && folder_find(s->index, owner, STR("Archive"), &mailbox) == 1 &&
                   acl_set(s->index, owner, mailbox.id, &entry) == 1 && store_commit(s));
}

static void set_up(void)
{
    driver_open(&driver, &role_store, config_text);
    struct store *s = driver.role.data;
    int64_t alice = add_account(s, STR("alice@example.org"));
    share(s, add_account(s, STR("carol@example.org")), alice, RIGHTS_ALL);
    victim = add_account(s, STR("victim@example.org"));
    share(s, victim, alice, MAY_READ);
    driver_add_peer(&driver, ROLE_SMTPD_MX, &log_to_store);
    driver_add_peer(&driver, ROLE_SMTPD_MSA, &log_to_store);
    driver_add_peer(&driver, ROLE_IMAPD, &change_to_store);
    driver_add_peer(&driver, ROLE_RELAY, &queue_to_store);
    driver_add_peer(&driver, ROLE_KEYS, &credential_to_store);
    driver_add_peer(&driver, ROLE_IMAPD, &change_to_store);
    driver_add_peer(&driver, ROLE_INDEXER, &fulltext_to_store);
}

static void report(void *context, struct str text)
{
    (void)context;
    fprintf(stderr, "%.*s\n", STR_ARGS(text));
}

static void check(struct store *s)
{
    struct account account;
    struct mailbox mailbox;
    struct verify_counts counts;
    struct acl_entry entries[ACL_ENTRIES_MAX];
    driver_require(!s->index->in_transaction);
    driver_require(account_by_id(s->index, victim, &account) == 1 && account.used_messages == 0);
    driver_require(folder_find(s->index, victim, STR("Archive"), &mailbox) == 1 && mailbox.uid_next == 1);
    driver_require(acl_entries(s->index, victim, mailbox.id, entries) == 1 && entries[0].rights == MAY_READ);
    driver_require(folder_find(s->index, victim, STR("Archive/New"), &mailbox) == 0);
    /* Who writes a record may write a summary that is none; then the message itself is read. */
    driver_require(verify_store(s->index, &s->segments, report, NULL, &counts) == 0 &&
                   counts.problems == counts.damaged_summaries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned runs;
    driver_one(&driver, set_up, data, size);
    if (++runs % VERIFY_EVERY == 0) {
        check(driver.role.data);
    }
    return 0;
}

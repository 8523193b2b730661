/*
 * The reader among hostile peers (goals G12, G18 and G19): smtpd, imapd and relay ask anything. It goes on, and no octet of a
 * message of an account for which nobody has a grant is in any answer, though who has a grant for another may do everything
 * there but read.
 */
#include "driver.h"
#include "ipc/proto_directory.h"
#include "ipc/proto_mailbox.h"
#include "ipc/proto_queue.h"
#include "roles/reader_private.h"
#include "store/account.h"
#include "store/acl.h"
#include "store/apply.h"
#include "store/batch.h"
#include "store/entry.h"
#include "store/folder.h"
#include "store/index.h"

#include <unistd.h>

static const char config_text[] = "hostname = \"mail.example.org\"\n"
                                  "domain example.org { }\n"
                                  "domain caught.example { catch_all = \"alice@example.org\" }\n"
                                  "domain relay.example { relay = true }\n";

static const char secret[] = "what only the victim may read";

static struct driver driver;

static void add_letter(struct batch *batch, struct buf *scratch, struct str recipient, struct str body,
                       uint64_t number)
{
    struct record_header header = {
        .kind = RECORD_MESSAGE, .wall_ms = 1700000000000, .id = ident_make(1700000000000, number << 16)};
    struct record_envelope e = {.sender = STR("bob@remote.example"),
                                .envelope_id = STR_EMPTY,
                                .grant = STR_EMPTY,
                                .login = STR_EMPTY,
                                .client = STR("192.0.2.1"),
                                .helo = STR("client.example"),
                                .tls = STR_EMPTY,
                                .retires = STR_EMPTY,
                                .recipient_count = 1};
    struct record_recipient r = {.address = recipient, .original = STR_EMPTY};
    buf_clear(scratch);
    driver_require(
        record_encode_envelope(&e, scratch) && record_encode_recipient(&r, scratch) &&
        batch_add(batch, &header, STR_EMPTY, buf_str(scratch), STR("Received: from test\r\n"), body, NULL));
}

/* With the first account. */
static void share(struct index *index, int64_t owner, uint32_t rights)
{
    const struct acl_entry entry = {.grantee = 1, .rights = rights};
    struct mailbox mailbox;
    driver_require(owner == 1 || (acl_set(index, owner, MAILBOX_INBOX, &entry) == 1 &&
                                  folder_find(index, owner, STR("Archive/2023"), &mailbox) == 1 &&
                                  acl_set(index, owner, mailbox.id, &entry) == 1));
}

/* Three accounts with some mail, in the directory that the reader is about to open. */
static void fill_store(void)
{
    static const char *const addresses[] = {"alice@example.org", "carol@example.org", "victim@example.org"};
    struct buf errors = buf_make(4096);
    struct index *index = index_open("index.db", true, &errors);
    struct segments segments;
    struct apply_counts counts = {0};
    struct account account;
    struct mailbox mailbox;
    int64_t segment;
    bool more;
    bool torn;
    driver_require(index != NULL && segments_init(&segments, &io_system, true) == 0 &&
                   index_begin(index) == 0);
    struct applier *applier = applier_new(index, &segments, driver.grant_key);
    driver_require(applier != NULL);
    applier_set_config(applier, driver.role.config);
    for (int i = 0; i < 3; i++) {
        driver_require(account_add(index, str_of(addresses[i]), STR("v"), -1, 1700000000000, &account) == 0 &&
                       folder_create(index, account.id, STR("Archive/2023"), 0, 1700000000000, &mailbox) ==
                           FOLDER_DONE &&
                       folder_subscribe(index, account.id, STR("Archive"), true) == 0);
        share(index, account.id, i == 1 ? RIGHTS_ALL : RIGHTS_ALL & ~(uint32_t)RIGHT_READ);
    }
    int fd = segment_create(&segments, index, ROLE_SMTPD_MX, 1, role_boot(&driver.role), &segment);
    struct batch *batch = batch_new();
    struct buf scratch = buf_make(1 << 16);
    driver_require(fd >= 0 && batch != NULL);
    for (uint64_t i = 0; i < 40; i++) {
        struct str body =
            i % 3 == 2 ? str_make(secret, sizeof(secret) - 1) : STR("Subject: hello\r\n\r\nhello\r\n");
        add_letter(batch, &scratch, str_of(addresses[i % 3]), body, i + 1);
    }
    batch_write(batch, &io_system, fd);
    driver_require(
        batch->result == BATCH_STORED &&
        apply_segment(applier, segment, INT64_MAX, UINT64_MAX, 1700000000000, &more, &torn, &counts) == 0 &&
        apply_finish(applier) == 0 && index_commit(index) == 0 && counts.filed == 40);
    close(fd);
    batch_free(batch);
    buf_free(&scratch);
    buf_free(&errors);
    applier_free(applier);
    segments_close(&segments);
    index_close(index);
}

static void set_up(void)
{
    driver_prepare(&driver, &role_reader, config_text);
    fill_store();
    driver_secret(&driver, SECRET_GRANT_KEY, "", driver.grant_key, sizeof(driver.grant_key));
    driver_start(&driver);
    driver_add_peer(&driver, ROLE_SMTPD_MX, &directory_to_reader);
    driver_add_peer(&driver, ROLE_SMTPD_MSA, &directory_to_reader);
    driver_add_peer(&driver, ROLE_IMAPD, &mailbox_to_reader);
    driver_add_peer(&driver, ROLE_RELAY, &body_to_reader);
    driver_add_peer(&driver, ROLE_IMAPD, &mailbox_to_reader);
    driver_forbid(&driver, secret, sizeof(secret) - 1, ROLE_SUPERVISOR);
    driver_forbid(&driver, driver.grant_key, sizeof(driver.grant_key), ROLE_SUPERVISOR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    driver_one(&driver, set_up, data, size);
    return 0;
}

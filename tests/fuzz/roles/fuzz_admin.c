/*
 * The control socket of the commands (goal G12): any octets from any number of connections. The store goes on, answers every whole
 * line with rows and then done or error, and log and index agree.
 */
#include "driver.h"
#include "roles/store_admin.h"
#include "roles/store_private.h"
#include "store/verify.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { VERIFY_EVERY = 500, PASSES = 20 };

static const char config_text[] = "hostname = \"mail.example.org\"\n"
                                  "domain example.org { }\n"
                                  "store { apply_interval = 1 reserve = 0 }\n";

static struct driver driver;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_len;

static void set_up(void)
{
    driver_open(&driver, &role_store, config_text);
    struct store *s = driver.role.data;
    struct account account;
    struct ident id = ident_make(1700000000000, 1 << 16);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* An abstract name: nothing is left behind. */
    int n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "veredus-fuzz-%d", (int)getpid());
    address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    driver_require(fd >= 0 && bind(fd, (const struct sockaddr *)(const void *)&address, address_len) == 0 &&
                   listen(fd, 20) == 0);
    s->admin = store_admin_open(s, fd);
    driver_require(
        s->admin != NULL && store_begin(s) &&
        account_add(s->index, STR("alice@example.org"), STR("v"), -1, 1700000000000, &account) == 0 &&
        account_add(s->index, STR("bob@example.org"), STR("v"), 5000, 1700000000000, &account) == 0 &&
        alias_add(s->index, STR("a@example.org"), STR("alice@example.org")) == 0 &&
        journal_add(s->index, &id, 1700000000000, JOURNAL_ACCEPTED, STR("from=<> to=<alice@example.org>")) ==
            0 &&
        store_commit(s));
}

static void report(void *context, struct str text)
{
    (void)context;
    fprintf(stderr, "%.*s\n", STR_ARGS(text));
}

/* Whatever it answers is read, so that it never waits. */
static void talk(int fd, const char *octets, size_t len)
{
    static char answer[1 << 16];
    size_t sent = 0;
    for (int i = 0; i < PASSES; i++) {
        ssize_t n = sent < len ? send(fd, octets + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        sent += n > 0 ? (size_t)n : 0;
        driver_pass(&driver);
        while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0) {
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned runs;
    struct verify_counts counts;
    if (driver.role.loop == NULL) {
        set_up();
    }
    struct store *s = driver.role.data;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    driver_require(fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)&address, address_len) == 0);
    talk(fd, (const char *)data, size);
    close(fd);
    driver_pass(&driver);
    driver_require(!s->index->in_transaction);
    if (++runs % VERIFY_EVERY == 0) {
        driver_require(verify_store(s->index, &s->segments, report, NULL, &counts) == 0 &&
                       counts.problems == 0);
    }
    return 0;
}

/*
 * relay among hostile peers (goals G12 and G18): what the resolver found, bytes of messages, jobs and passwords are anything. It
 * goes on. No connection leaves this process: each is refused at once.
 */
#include "driver.h"
#include "ipc/proto_queue.h"
#include "ipc/proto_resolve.h"

#include <errno.h>
#include <sys/socket.h>

static const char config_text[] = "hostname = \"mail.example.org\"\n"
                                  "domain example.org { }\n"
                                  "route \"elsewhere.example\" { host = \"192.0.2.7\" port = 2525 }\n";

static struct driver driver;

/* In the place of the C library's. */
int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    (void)fd;
    (void)address;
    (void)len;
    static unsigned calls;
    errno = ++calls % 2 == 0 ? ECONNREFUSED : ENETUNREACH;
    return -1;
}

static void set_up(void)
{
    driver_prepare(&driver, &role_relay, config_text);
    driver_start(&driver);
    driver_add_peer(&driver, ROLE_STORE, &queue_to_relay);
    driver_add_peer(&driver, ROLE_RESOLVER, &resolve_from_resolver);
    driver_add_peer(&driver, ROLE_READER, &body_to_relay);
    driver_add_peer(&driver, ROLE_KEYS, &route_secret_to_relay);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    driver_one(&driver, set_up, data, size);
    return 0;
}

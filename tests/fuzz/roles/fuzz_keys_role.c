/*
 * keys among hostile peers (goals G12 and G18): sessions, relay and store say anything. It goes on, and neither its keys nor the
 * password of a route come out of it, but for that to relay.
 */
#include "driver.h"
#include "ipc/proto_auth.h"
#include "ipc/proto_credential.h"
#include "ipc/proto_queue.h"

static const char config_text[] = "hostname = \"mail.example.org\"\n"
                                  "domain example.org { }\n";

static const char route_password[] = "the password of the smarthost";

static struct driver driver;
static const char pepper[] = "a pepper of thirty-two octets...";

static void set_up(void)
{
    driver_prepare(&driver, &role_keys, config_text);
    driver_secret(&driver, SECRET_GRANT_KEY, "", driver.grant_key, sizeof(driver.grant_key));
    driver_secret(&driver, SECRET_PEPPER, "", pepper, sizeof(pepper) - 1);
    driver_secret(&driver, SECRET_ROUTE_PASSWORD, "secret", route_password, sizeof(route_password) - 1);
    driver_start(&driver);
    driver_add_peer(&driver, ROLE_SMTPD_MSA, &auth_to_keys);
    driver_add_peer(&driver, ROLE_IMAPD, &auth_to_keys);
    driver_add_peer(&driver, ROLE_RELAY, &route_secret_to_keys);
    driver_add_peer(&driver, ROLE_STORE, &credential_to_keys);
    driver_forbid(&driver, route_password, sizeof(route_password) - 1, ROLE_RELAY);
    driver_forbid(&driver, pepper, sizeof(pepper) - 1, ROLE_SUPERVISOR);
    driver_forbid(&driver, driver.grant_key, sizeof(driver.grant_key), ROLE_SUPERVISOR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    driver_one(&driver, set_up, data, size);
    return 0;
}

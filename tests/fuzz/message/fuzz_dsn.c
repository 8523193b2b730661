/* A notice about anything: its form holds, whatever the sender, the remote server and the message put into it. */
#include "message/dsn.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str take(struct str *rest)
{
    struct str part = STR_EMPTY;
    if (rest->len > 0) {
        size_t len = (unsigned char)rest->data[0];
        part = str_sub(*rest, 1, 1 + len);
        *rest = str_from(*rest, 1 + len);
    }
    return part;
}

static void check(struct str text, bool eight_bit)
{
    size_t line = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\0' || (c == '\n' && (i == 0 || text.data[i - 1] != '\r')) ||
            (c == '\r' && (i + 1 == text.len || text.data[i + 1] != '\n')) ||
            ((unsigned char)c >= 0x80 && !eight_bit)) {
            abort();
        }
        line = c == '\n' ? 0 : line + 1;
        if (line > 999) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4) {
        return 0;
    }
    struct str rest = str_make(data + 4, size - 4);
    struct dsn_recipient recipients[2];
    for (size_t i = 0; i < 2; i++) {
        recipients[i] = (struct dsn_recipient){.address = take(&rest),
                                               .orcpt = take(&rest),
                                               .action = (enum dsn_action)(data[i] % 5),
                                               .code = (unsigned)data[2] * 4,
                                               .enhanced = take(&rest),
                                               .text = take(&rest),
                                               .host = take(&rest),
                                               .expired = (data[3] & 1) != 0,
                                               .uncertain = (data[3] & 2) != 0,
                                               .retry_until_ms = data[2]};
    }
    struct dsn_notice notice = {.hostname = STR("mail.example"),
                                .sender = take(&rest),
                                .envid = take(&rest),
                                .message_id = STR("00d21rj6cepfx4zyqa8r"),
                                .notice_id = STR("00d21rj6cepfx4zyqa8s"),
                                .ret = (enum dsn_ret)(data[3] / 4 % 3),
                                .smtputf8 = (data[3] & 16) != 0,
                                .original = rest,
                                .original_size = rest.len + (data[3] >> 7),
                                .recipients = recipients,
                                .recipient_count = 1 + data[2] % 2,
                                .random = 1};
    struct dsn_needs needs;
    struct buf out = buf_make(DSN_SIZE_MAX);
    if (dsn_build(&notice, &out, &needs)) {
        check(buf_str(&out), needs.eight_bit);
    } else if (notice.sender.len > 0) {
        abort();
    }
    buf_free(&out);
    return 0;
}

/* The store's directory; see store_dir.h. */
#include "cli/store_dir.h"

#include "cli/control.h"
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static int find_data(const struct cli_input *input, char path[PATH_BYTES])
{
    const char *dir = cli_option_value(input, "--dir");
    const char *file = cli_option_value(input, "--config");
    struct config *config = NULL;
    if (dir != NULL) {
        snprintf(path, PATH_BYTES, "%s/data", dir);
        return EX_OK;
    }
    int code = control_load_config(input, file == NULL ? CLI_CONFIG_FILE : file, &config);
    if (code == EX_OK) {
        snprintf(path, PATH_BYTES, "%.*s", STR_ARGS(config->data_dir));
    }
    config_unref(config);
    return code;
}

/* False: another process holds it. The descriptor stays open, and with it the lock, as long as this process lives. */
static bool take_lock(const char *name)
{
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* What root makes here the store could not use: from here on this process is the store's user. */
static bool become_owner(const struct stat *info, bool returns)
{
    if (geteuid() != 0 || info->st_uid == 0) {
        return true;
    }
    if (returns) {
        return setegid(info->st_gid) == 0 && seteuid(info->st_uid) == 0;
    }
    return setgroups(0, NULL) == 0 && setresgid(info->st_gid, info->st_gid, info->st_gid) == 0 &&
           setresuid(info->st_uid, info->st_uid, info->st_uid) == 0;
}

int cli_enter_store(const struct cli_input *input, enum store_entry how)
{
    char data[PATH_BYTES];
    struct stat info;
    int code = find_data(input, data);
    if (code != EX_OK) {
        return code;
    }
    if (chdir(data) != 0 || stat("store", &info) != 0) {
        return cli_fail(
            input, EX_NOINPUT,
            "name the server's configuration with -c FILE, or the directory of `veredus dev` with "
            "--dir DIR",
            "there is no store in %s: %s", data, strerror(errno));
    }
    if (how == STORE_ALONE && !take_lock("lock")) {
        return cli_fail(input, EX_UNAVAILABLE, "stop it first with `veredus stop`",
                        "the server is running on %s", data);
    }
    if (chdir("store") != 0 || !become_owner(&info, how == STORE_RETURN)) {
        return cli_fail(input, EX_NOPERM, "run the command as root or as the user that started the server",
                        "cannot use %s/store: %s", data, strerror(errno));
    }
    if (how == STORE_ALONE && !take_lock("lock")) {
        return cli_fail(input, EX_UNAVAILABLE, "wait for it, or stop the server with `veredus stop`",
                        "another process is using %s/store", data);
    }
    return EX_OK;
}

void cli_leave_owner(void)
{
    if (seteuid(getuid()) != 0 || setegid(getgid()) != 0) {
        fputs("veredus: cannot return to the user that started the command\n", stderr);
        exit(EX_OSERR);
    }
}

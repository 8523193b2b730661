/* How load generators with a thread for each connection connect. */
#ifndef VEREDUS_BENCH_CONNECT_H
#define VEREDUS_BENCH_CONNECT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * A blocking connection from one of 200 addresses of this machine, as many clients would come: servers limit the connections of an
 * address. The descriptor, or -1.
 */
static inline int connect_from(const char *host, unsigned port, unsigned number)
{
    enum { SOURCE_ADDRESSES = 200 };
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    source.sin_addr.s_addr = htonl(0x7f000001U + number % SOURCE_ADDRESSES);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (inet_pton(AF_INET, host, &address.sin_addr) == 1 &&
        bind(fd, (struct sockaddr *)&source, sizeof(source)) == 0 &&
        connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

#endif

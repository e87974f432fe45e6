/*
 * The other side of the interoperability tests: usrsctp over UDP on loopback.
 *
 *   peer listen  LOCAL_UDP REMOTE_UDP ADDRESS...
 *                echoes each message on its own stream
 *   peer connect LOCAL_UDP REMOTE_UDP shutdown|abort COUNT ADDRESS...
 *                sends, wants echoes, ends
 *
 * The last line on standard output says how it went: "echoed N messages, closed|reset".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <usrsctp.h>

enum { PORT = 9260, SIZE = 16000, WINDOW = 20, MOST = 8 };

static char buffer[1 << 20];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct socket *open_socket(int remote_udp) {
    struct socket *sock = usrsctp_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
    if (sock == NULL)
        fail("socket");
    int room = 1 << 20, on = 1;
    struct sctp_initmsg streams = {.sinit_num_ostreams = 16, .sinit_max_instreams = 16};
    struct sctp_udpencaps encapsulation;
    memset(&encapsulation, 0, sizeof encapsulation);
    encapsulation.sue_address.ss_family = AF_INET;
    encapsulation.sue_port = htons(remote_udp);
    usrsctp_setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    usrsctp_setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    usrsctp_setsockopt(sock, IPPROTO_SCTP, SCTP_INITMSG, &streams, sizeof streams);
    usrsctp_setsockopt(sock, IPPROTO_SCTP, SCTP_RECVRCVINFO, &on, sizeof on);
    if (usrsctp_setsockopt(sock, IPPROTO_SCTP, SCTP_REMOTE_UDP_ENCAPS_PORT, &encapsulation, sizeof encapsulation) < 0)
        fail("encapsulation");
    return sock;
}

static int addresses(struct sockaddr_in *list, char **words, int count) {
    memset(list, 0, MOST * sizeof *list);
    for (int at = 0; at < count && at < MOST; at++) {
        list[at].sin_family = AF_INET;
        list[at].sin_port = htons(PORT);
        if (inet_pton(AF_INET, words[at], &list[at].sin_addr) != 1)
            fail("address");
    }
    return count < MOST ? count : MOST;
}

/* A whole message into the buffer: its length, 0 at the end, -1 if the association was reset. */
static ssize_t receive(struct socket *sock, struct sctp_rcvinfo *info) {
    size_t have = 0;
    for (;;) {
        struct sockaddr_in from;
        socklen_t from_len = sizeof from, info_len = sizeof *info;
        unsigned kind = 0;
        int flags = 0;
        ssize_t got = usrsctp_recvv(sock, buffer + have, sizeof buffer - have, (struct sockaddr *)&from, &from_len, info,
                                    &info_len, &kind, &flags);
        if (got <= 0)
            return got;
        if (flags & MSG_NOTIFICATION)
            continue;
        have += got;
        if (flags & MSG_EOR)
            return have;
    }
}

static int send_message(struct socket *sock, size_t len, unsigned stream, unsigned ppid, int flags) {
    struct sctp_sndinfo info = {.snd_sid = stream, .snd_ppid = ppid, .snd_flags = flags};
    return usrsctp_sendv(sock, buffer, len, NULL, 0, &info, sizeof info, SCTP_SENDV_SNDINFO, 0) == (ssize_t)len;
}

static void listen_and_echo(int remote_udp, char **words, int count) {
    struct sockaddr_in list[MOST];
    struct socket *sock = open_socket(remote_udp);
    count = addresses(list, words, count);
    if (usrsctp_bindx(sock, (struct sockaddr *)list, count, SCTP_BINDX_ADD_ADDR) < 0)
        fail("bindx");
    if (usrsctp_listen(sock, 1) < 0)
        fail("listen");
    printf("ready\n");
    struct socket *peer = usrsctp_accept(sock, NULL, NULL);
    if (peer == NULL)
        fail("accept");
    struct sctp_rcvinfo info;
    ssize_t got;
    unsigned echoed = 0;
    while ((got = receive(peer, &info)) > 0) {
        if (!send_message(peer, got, info.rcv_sid, info.rcv_ppid, info.rcv_flags & SCTP_UNORDERED))
            break;
        echoed++;
    }
    printf("echoed %u messages, %s\n", echoed, got == 0 ? "closed" : "reset");
    usrsctp_close(peer);
    usrsctp_close(sock);
}

static void connect_and_send(int remote_udp, const char *end, unsigned total, char **words, int count) {
    struct sockaddr_in list[MOST];
    struct socket *sock = open_socket(remote_udp);
    count = addresses(list, words, count);
    sctp_assoc_t id;
    if (usrsctp_connectx(sock, (struct sockaddr *)list, count, &id) < 0)
        fail("connectx");
    unsigned sent = 0, echoed = 0;
    struct sctp_rcvinfo info;
    while (echoed < total) {
        for (; sent < total && sent - echoed < WINDOW; sent++) {
            memset(buffer, sent, SIZE);
            if (!send_message(sock, SIZE, sent % 10, htonl(sent), 0))
                fail("send");
        }
        ssize_t got = receive(sock, &info);
        if (got != SIZE || (unsigned char)buffer[SIZE / 2] != (unsigned char)ntohl(info.rcv_ppid))
            fail("an echo came back altered");
        echoed++;
    }
    if (strcmp(end, "abort") == 0) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        usrsctp_setsockopt(sock, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        printf("echoed %u messages, reset\n", echoed);
    } else {
        usrsctp_shutdown(sock, SHUT_WR);
        printf("echoed %u messages, %s\n", echoed, receive(sock, &info) == 0 ? "closed" : "reset");
    }
    usrsctp_close(sock);
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    usrsctp_init(atoi(argv[2]), NULL, NULL);
    usrsctp_sysctl_set_sctp_rto_min_default(100);
    usrsctp_sysctl_set_sctp_rto_initial_default(500);
    usrsctp_sysctl_set_sctp_delayed_sack_time_default(20);
    usrsctp_sysctl_set_sctp_path_rtx_max_default(1);
    usrsctp_sysctl_set_sctp_heartbeat_interval_default(500);
    if (strcmp(argv[1], "listen") == 0)
        listen_and_echo(atoi(argv[3]), argv + 4, argc - 4);
    else if (argc > 6)
        connect_and_send(atoi(argv[3]), argv[4], atoi(argv[5]), argv + 6, argc - 6);
    for (int tries = 0; tries < 50 && usrsctp_finish() != 0; tries++)
        usleep(100000);
    return 0;
}

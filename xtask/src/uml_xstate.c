/*
 * Preloaded into user-mode Linux on processors whose register state is larger than it knows.
 *
 * It keeps 2,696 bytes of XSAVE state for each process of the guest (AVX-512 and PKRU) and writes
 * them back with PTRACE_SETREGSET. The host takes the whole state or nothing: with AMX that is
 * 11,008 bytes, so the call fails with EFAULT and the guest's first process dies. Here the state as
 * it is now is read first, what user-mode Linux knows is laid over its beginning, and the whole is
 * written. Where the sizes agree nothing is changed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

typedef long (*ptrace_function)(int request, pid_t pid, void *address, void *data);

static ptrace_function next;
/* User-mode Linux has one processor and small stacks. */
static unsigned char whole[1 << 16];

__attribute__((constructor)) static void find_next(void) {
    void *symbol = dlsym(RTLD_NEXT, "ptrace");
    if (symbol == NULL) {
        abort();
    }
    memcpy(&next, &symbol, sizeof(next));
}

long ptrace(enum __ptrace_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
        const struct iovec *known = data;
        struct iovec all = {.iov_base = whole, .iov_len = sizeof(whole)};
        if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, address, &all) == 0 &&
            known->iov_len < all.iov_len) {
            memcpy(whole, known->iov_base, known->iov_len);
            return syscall(SYS_ptrace, request, pid, address, &all);
        }
    }
    return next((int)request, pid, address, data);
}

/* A libcuda.so.1 that answers PyTorch's first questions as told: FAKE_DRIVER is its version, FAKE_INIT cuInit's result. */
#include <stdlib.h>
#include <string.h>

static int told(const char *name) { return getenv(name) ? atoi(getenv(name)) : 0; }
int cuInit(unsigned flags) { return told("FAKE_INIT"); }
int cuDriverGetVersion(int *version) { *version = told("FAKE_DRIVER"); return 0; }
static int anything_else(void) { return 999; }

int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags) {
    *function = !strcmp(name, "cuInit") ? (void *)cuInit
              : !strcmp(name, "cuDriverGetVersion") ? (void *)cuDriverGetVersion
              : !strncmp(name, "cuGetProcAddress", 16) ? (void *)cuGetProcAddress : (void *)anything_else;
    return 0;
}
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
    if (status) *status = 0;
    return cuGetProcAddress(name, function, version, flags);
}

/* SPDX-License-Identifier: MIT
 *
 * test_base_machine.c: machines of several kinds, from the texts that their systems give: AMD and Intel servers, an Intel
 * hybrid, Graviton, an ARM of two kinds of cores, Apple's chips; containers of both versions of control groups.
 *
 * The texts are shortened to the lines that matter; their values are those of the machines named.
 */
#include "sweep.h"

#include "base/machine.h"
#include "base/str.h"

static sm_sv text(const char *s) {
    return sm_sv_of(s);
}

static const char epyc[] =
    "processor\t: %d\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654 96-Core Processor\n"
    "physical id\t: %d\nsiblings\t: 4\ncore id\t\t: %d\ncpu cores\t: 2\n"
    "flags\t\t: fpu sse2 fma f16c avx2 avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_bf16\n"
    "power management: ts ttp\n\n";

static void two_sockets(void **state) {
    (void)state;
    sm_machine m = {0};
    sm_str s = SM_STR_INIT;
    int cpu = 0;
    for (int thread = 0; thread < 2; thread++)
        for (int socket = 0; socket < 2; socket++)
            for (int core = 0; core < 2; core++)
                sm_str_addf(&s, epyc, cpu++, socket, 7 * core);
    sm_machine_cpuinfo((sm_sv){s.p, s.n}, &m);
    sm_str_free(&s);
    assert_string_equal(m.cpu, "AMD EPYC 9654 96-Core Processor");
    assert_string_equal(m.vendor, "AuthenticAMD");
    assert_int_equal(m.threads, 8);
    assert_int_equal(m.cores, 4);
    assert_int_equal(m.sockets, 2);
    assert_int_equal(m.p_cores + m.e_cores, 0);
    assert_true(sm_machine_has(&m, "avx512_vnni") && sm_machine_has(&m, "fpu") && sm_machine_has(&m, "avx512_bf16"));
    assert_false(sm_machine_has(&m, "avx512") || sm_machine_has(&m, "vx2") || sm_machine_has(&m, "") ||
                 sm_machine_has(&m, "amx_int8"));
    assert_false(m.is_virtual);
    m.cache[m.n_caches++] = (sm_cache){1, 'd', 32 << 10, 2};
    m.cache[m.n_caches++] = (sm_cache){3, 'u', 32 << 20, 4};
    assert_int_equal(sm_machine_last_cache(&m), 64 << 20);
}

/* 4 cores of two threads, 2 of one. */
static void intel_hybrid(void **state) {
    (void)state;
    sm_machine m = {0};
    sm_str s = SM_STR_INIT;
    for (int i = 0; i < 10; i++)
        sm_str_addf(&s,
                    "processor\t: %d\nvendor_id\t: GenuineIntel\nmodel name\t: 12th Gen Intel(R) Core(TM) i7-12700\n"
                    "physical id\t: 0\ncore id\t\t: %d\nflags\t\t: fma avx2 avx_vnni\nbugs\t\t:\n\n",
                    i, i < 8 ? i / 2 * 4 : 40 + i);
    sm_machine_cpuinfo((sm_sv){s.p, s.n}, &m);
    sm_str_free(&s);
    assert_int_equal(m.threads, 10);
    assert_int_equal(m.cores, 6);
    assert_int_equal(m.p_cores, 4);
    assert_int_equal(m.e_cores, 2);
    assert_string_equal(m.cpu, "12th Gen Intel(R) Core(TM) i7-12700");
    assert_true(sm_machine_has(&m, "avx_vnni"));
}

static void graviton(void **state) {
    (void)state;
    sm_machine m = {0};
    sm_str s = SM_STR_INIT;
    for (int i = 0; i < 4; i++)
        sm_str_addf(&s,
                    "processor\t: %d\nBogoMIPS\t: 2100.00\n"
                    "Features\t: fp asimd asimdhp asimddp sve i8mm bf16\nCPU implementer\t: 0x41\n"
                    "CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n\n",
                    i);
    sm_machine_cpuinfo((sm_sv){s.p, s.n}, &m);
    sm_str_free(&s);
    assert_string_equal(m.cpu, "ARM Neoverse V1");
    assert_int_equal(m.threads, 4);
    assert_int_equal(m.cores, 4);
    assert_int_equal(m.e_cores, 0);
    assert_true(sm_machine_has(&m, "i8mm") && sm_machine_has(&m, "asimddp"));
}

static void arm_of_two_kinds(void **state) {
    (void)state;
    sm_machine m = {0};
    sm_str s = SM_STR_INIT;
    for (int i = 0; i < 8; i++)
        sm_str_addf(&s, "processor\t: %d\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: %s\n\n", i,
                    i < 4 ? "0xd05" : "0xd0b");
    sm_str_addf(&s, "Hardware\t: something\n");
    sm_machine_cpuinfo((sm_sv){s.p, s.n}, &m);
    sm_str_free(&s);
    assert_string_equal(m.cpu, "ARM Cortex-A55 + ARM Cortex-A76");
    assert_int_equal(m.p_cores, 4);
    assert_int_equal(m.e_cores, 4);
    memset(&m, 0, sizeof m);
    sm_machine_cpuinfo(text("processor : 0\nCPU implementer : 0x99\nCPU part : 0xabc\n"), &m);
    assert_string_equal(m.cpu, "ARM part 0x99-0xabc");
}

static void apple(void **state) {
    (void)state;
    sm_machine m = {0};
    sm_machine_sysctl(
        text("machdep.cpu.brand_string: Apple M2 Pro\nhw.model: Mac14,9\nhw.packages: 1\nhw.physicalcpu: 10\n"
             "hw.logicalcpu: 10\nhw.nperflevels: 2\nhw.perflevel0.physicalcpu: 6\n"
             "hw.perflevel1.physicalcpu: 4\nhw.perflevel0.l1dcachesize: 131072\n"
             "hw.perflevel0.l2cachesize: 16777216\nhw.perflevel0.cpusperl2: 3\nhw.l1dcachesize: 65536\n"
             "hw.l2cachesize: 4194304\nhw.memsize: 17179869184\nhw.pagesize: 16384\n"
             "iogpu.wired_limit_mb: 0\nkern.osproductversion: 15.1\nkern.hv_vmm_present: 0\n"
             "vm.swapusage: total = 2048.00M  used = 1024.50M  free = 1023.50M  (encrypted)\n"
             "hw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_I8MM: 1\nhw.optional.arm.FEAT_SME: 0\n"),
        &m);
    assert_string_equal(m.cpu, "Apple M2 Pro");
    assert_string_equal(m.os, "macOS 15.1");
    assert_int_equal(m.cores, 10);
    assert_int_equal(m.p_cores, 6);
    assert_int_equal(m.e_cores, 4);
    assert_int_equal(m.page_bytes, 16384);
    assert_int_equal(m.n_caches, 2);
    assert_int_equal(m.cache[0].bytes, 131072); /* the fast cores', not what follows */
    assert_int_equal(m.cache[1].shared_by, 3);
    assert_true(m.gpu_wired_default);
    assert_int_equal(m.gpu_wired >> 20, 16384 / 3 * 2);
    assert_int_equal(m.swap, (uint64_t)2048 << 20);
    assert_int_equal(m.swap_free, 1023 * 1048576 + 524288);
    assert_true(sm_machine_has(&m, "dotprod") && sm_machine_has(&m, "i8mm"));
    assert_false(sm_machine_has(&m, "sme"));

    memset(&m, 0, sizeof m);
    sm_machine_sysctl(
        text("machdep.cpu.brand_string: Apple M3 Max\nhw.memsize: 68719476736\niogpu.wired_limit_mb: 57344\n"), &m);
    assert_false(m.gpu_wired_default);
    assert_int_equal(m.gpu_wired >> 30, 56);
    memset(&m, 0, sizeof m);
    sm_machine_sysctl(text("machdep.cpu.brand_string: Apple M3 Max\nhw.memsize: 68719476736\n"), &m);
    assert_int_equal(m.gpu_wired >> 30, 48);
}

static void intel_mac(void **state) {
    (void)state;
    sm_machine m = {0};
    sm_machine_sysctl(text("machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz\n"
                           "machdep.cpu.features: FPU SSE4.2 FMA\nmachdep.cpu.leaf7_features: AVX2 BMI2\n"
                           "hw.physicalcpu: 6\nhw.logicalcpu: 12\nhw.l1dcachesize: 32768\nhw.l2cachesize: 262144\n"
                           "hw.l3cachesize: 12582912\nhw.memsize: 34359738368\n"),
                      &m);
    assert_int_equal(m.threads, 12);
    assert_int_equal(m.gpu_wired, 0);
    assert_true(sm_machine_has(&m, "avx2") && sm_machine_has(&m, "fma"));
    assert_int_equal(sm_machine_last_cache(&m), 12582912);
}

static void memory(void **state) {
    (void)state;
    sm_machine m = {.cgroup_memory = SM_UNLIMITED};
    sm_machine_meminfo(text("MemTotal:       16077216 kB\nMemFree:         1234567 kB\nMemAvailable:   12345678 kB\n"
                            "SwapTotal:       8388604 kB\nSwapFree:        8000000 kB\nHugePages_Total:       4\n"
                            "Hugepagesize:       2048 kB\n"),
                       &m);
    assert_int_equal(m.memory, 16077216ull * 1024);
    assert_int_equal(m.memory_available, 12345678ull * 1024);
    assert_int_equal(m.swap - m.swap_free, 388604ull * 1024);
    assert_int_equal(m.huge_pages, 4);
    assert_int_equal(m.huge_page_bytes, 2 << 20);
    assert_int_equal(sm_machine_memory(&m), m.memory);
    m.cgroup_memory = 1 << 30;
    assert_int_equal(sm_machine_memory(&m), 1 << 30);
}

static void small_readers(void **state) {
    (void)state;
    char out[64];
    assert_int_equal(sm_machine_size(text("32768K\n")), 32 << 20);
    assert_int_equal(sm_machine_size(text("1.5M")), 3 << 19);
    assert_int_equal(sm_machine_size(text("96")), 96);
    assert_int_equal(sm_machine_size(text("-3")), 0);
    assert_true(sm_machine_limit(text("max\n")) == SM_UNLIMITED);
    assert_true(sm_machine_limit(text("9223372036854771712\n")) == SM_UNLIMITED);
    assert_true(sm_machine_limit(text("-1")) == SM_UNLIMITED);
    assert_int_equal(sm_machine_limit(text("1073741824\n")), 1 << 30);
    assert_true(sm_machine_cpu_max(text("250000 100000\n")) > 2.49 && sm_machine_cpu_max(text("250000 100000")) < 2.51);
    assert_true(sm_machine_cpu_max(text("max 100000\n")) < 0.001);
    assert_true(sm_machine_cpu_max(text("-1 100000")) < 0.001);
    assert_int_equal(sm_machine_list_count(text("0-3,8,10-11\n")), 7);
    assert_int_equal(sm_machine_list_count(text("0\n")), 1);
    assert_int_equal(sm_machine_list_count(text("")), 0);
    assert_int_equal(sm_machine_list_count(text("7-3")), 0);
    sm_machine_choice(text("always [madvise] never\n"), out, sizeof out);
    assert_string_equal(out, "madvise");
    sm_machine_choice(text("schedutil\n"), out, sizeof out);
    assert_string_equal(out, "schedutil");
}

static void groups(void **state) {
    (void)state;
    char out[32];
    const char *v1 = "12:cpu,cpuacct:/docker/ab\n5:memory:/docker/cd\n1:name=systemd:/x\n";
    assert_true(sm_machine_cgroup_path(text("0::/user.slice/a.scope\n"), NULL, out, sizeof out));
    assert_string_equal(out, "/user.slice/a.scope");
    assert_true(sm_machine_cgroup_path(text(v1), "memory", out, sizeof out));
    assert_string_equal(out, "/docker/cd");
    assert_true(sm_machine_cgroup_path(text(v1), "cpu", out, sizeof out));
    assert_string_equal(out, "/docker/ab");
    assert_false(sm_machine_cgroup_path(text(v1), "cpua", out, sizeof out));
    assert_false(sm_machine_cgroup_path(text(v1), NULL, out, sizeof out));
    assert_false(sm_machine_cgroup_path(text("0::/a-path-that-is-longer-than-the-room\n"), NULL, out, sizeof out));
}

static void put(const char *root, const char *path, const char *content) {
    char full[1024], command[1200];
    snprintf(full, sizeof full, "%s%s", root, path);
    snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s')\"", full);
    assert_int_equal(system(command), 0);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static void whole_tree(void **state) {
    (void)state;
    char *root = scratch_new();
    sm_machine m;
    put(root, "/proc/cpuinfo", "processor: 0\nmodel name: X\nflags: hypervisor avx2\n\nprocessor: 1\n\n");
    put(root, "/proc/meminfo", "MemTotal: 4096 kB\n");
    put(root, "/proc/self/cgroup", "0::/a/b\n");
    put(root, "/sys/fs/cgroup/a/memory.max", "2097152\n");
    put(root, "/sys/fs/cgroup/a/memory.current", "1048576\n");
    put(root, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    put(root, "/sys/fs/cgroup/cpu.max", "max 100000\n");
    put(root, "/sys/devices/system/node/online", "0-1\n");
    put(root, "/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    put(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    put(root, "/sys/devices/system/cpu/cpu0/cache/index0/level", "1\n");
    put(root, "/sys/devices/system/cpu/cpu0/cache/index0/type", "Data\n");
    put(root, "/sys/devices/system/cpu/cpu0/cache/index0/size", "32K\n");
    put(root, "/sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list", "0\n");
    put(root, "/sys/devices/system/cpu/cpu0/cache/index1/level", "3\n");
    put(root, "/sys/devices/system/cpu/cpu0/cache/index1/type", "Unified\n");
    put(root, "/sys/devices/system/cpu/cpu0/cache/index1/size", "512K\n");
    put(root, "/sys/devices/system/cpu/cpu0/cache/index1/shared_cpu_list", "0-1\n");
    sm_machine_read(root, &m);
    assert_int_equal(m.threads, 2);
    assert_true(m.is_virtual);
    assert_int_equal(m.memory, 4 << 20);
    assert_int_equal(m.cgroup_memory, 2 << 20);
    assert_int_equal(m.cgroup_used, 1 << 20);
    assert_int_equal(sm_machine_memory(&m), 2 << 20);
    assert_true(m.cgroup_cpus > 0.49 && m.cgroup_cpus < 0.51);
    assert_int_equal(m.numa_nodes, 2);
    assert_string_equal(m.transparent_huge, "always");
    assert_string_equal(m.governor, "powersave");
    assert_int_equal(m.n_caches, 2);
    assert_int_equal(sm_machine_last_cache(&m), 512 << 10);

    /* version 1, in a container that sees its group as the root */
    put(root, "/proc/self/cgroup", "4:memory:/docker/x\n3:cpuacct,cpu:/docker/x\n");
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "3145728\n");
    put(root, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "4096\n");
    put(root, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n");
    put(root, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    sm_machine_read(root, &m);
    assert_int_equal(m.cgroup_memory, 3 << 20);
    assert_int_equal(m.cgroup_used, 4096);
    assert_true(m.cgroup_cpus > 1.49 && m.cgroup_cpus < 1.51);

    scratch_remove(root);
    root = scratch_new(); /* a system that says nothing */
    sm_machine_read(root, &m);
    assert_true(m.threads > 0 && m.cores > 0 && m.usable > 0 && m.page_bytes > 0);
    assert_true(m.cgroup_memory == SM_UNLIMITED);
    assert_int_equal(m.memory, 0);
    scratch_remove(root);
}

static void this_machine(void **state) {
    (void)state;
    sm_machine m;
    sm_machine_read("", &m);
    assert_true(m.memory > 1 << 24);
    assert_true(m.threads >= m.cores && m.cores >= 1 && m.usable >= 1);
    assert_true(m.os[0] && m.arch[0]);
    printf("# %s, %d cores, %d threads, %.1f GB\n", m.cpu, m.cores, m.threads, (double)m.memory / 1e9);
}

static bool survives(void *ctx) {
    sm_machine m;
    (void)ctx;
    sm_machine_read("", &m);
    return m.cpu[0] && m.memory > 0 && m.n_caches == *(int *)ctx;
}

/* Without memory for the texts there are fewer facts, and nothing worse. */
static void out_of_memory(void **state) {
    (void)state;
    sm_machine m;
    sm_machine_read("", &m);
    for (long n = 0; n < 40; n++) {
        sm_alloc_fail_after(n);
        survives(&m.n_caches);
        sm_alloc_fail_after(-1);
    }
    assert_true(survives(&m.n_caches) || !m.cpu[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sockets), cmocka_unit_test(intel_hybrid),  cmocka_unit_test(graviton),
        cmocka_unit_test(apple),       cmocka_unit_test(intel_mac),     cmocka_unit_test(arm_of_two_kinds),
        cmocka_unit_test(memory),      cmocka_unit_test(small_readers), cmocka_unit_test(groups),
        cmocka_unit_test(whole_tree),  cmocka_unit_test(this_machine),  cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

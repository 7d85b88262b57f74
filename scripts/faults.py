"""Run the fault tests of the networked engine at random moments and print how long recovery took, as Markdown.

Other arguments go to pytest: ``scripts/faults --moments 3 -k "not cable"``.
"""

import argparse
import collections
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

TESTS = sorted(str(path) for path in pathlib.Path("tests/engine").glob("test_faults_*.py"))


def table(report: pathlib.Path) -> str:
    """Recovery times of the tests that passed in a report of pytest, one line for each fault."""
    seconds, limits = collections.defaultdict(list), {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        facts = {each.get("name"): each.get("value") for each in case.iter("property")}
        if "fault" in facts and case.find("failure") is None:
            seconds[facts["fault"]].append(float(facts["seconds"]))
            limits[facts["fault"]] = facts["limit"]
    lines = ["| fault | moments | median, s | worst, s | limit, s |", "|---|---|---|---|---|"]
    for fault, times in seconds.items():
        median, worst = statistics.median(times), max(times)
        lines.append(f"| {fault} | {len(times)} | {median:.1f} | {worst:.1f} | {limits[fault]} |")
    return "\n".join(lines)


def main() -> int:
    """Run, and print the table; the code of pytest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=10, help="random moments for each fault (default 10)")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the moments (default: another each time)"
    )
    options, rest = parser.parse_known_args()
    env = {**os.environ, "UDVD_FAULT_MOMENTS": str(options.moments), "UDVD_FAULT_SEED": str(options.seed)}
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder, "report.xml")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *TESTS,
            f"--junitxml={report}",
            "-o",
            "junit_family=xunit1",
            *rest,
        ]
        code = subprocess.run(command, env=env).returncode
        print(f"\nmoments of seed {options.seed}, {os.cpu_count()} cores\n\n{table(report)}")
    return code


if __name__ == "__main__":
    sys.exit(main())

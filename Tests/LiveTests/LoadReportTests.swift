// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Testing

@testable import tableflip_demo

/// What the demonstration counts as lost, and what as having died with a process that was killed on purpose.
struct LoadReportTests {
    private static let reset = "read(descriptor:pointer:size:): Connection reset by peer (errno: 104)"
    private static let closed = "closed before the answer"
    private static let refused = "connect: Connection refused (errno: 111)"

    private func report(lost: Int, _ failures: [String: Int]) -> LoadReport {
        var report = LoadReport()
        report.lost = lost
        report.failures = failures
        return report
    }

    @Test func `what was cut off counts for the killed process, and nothing that had been lost before`() {
        let before = self.report(lost: 1, [Self.closed: 1])
        let after = self.report(lost: 5, [Self.closed: 2, Self.reset: 2, Self.refused: 1])
        let cut = after.cut(since: before, atMost: 8)
        #expect(cut == [Self.closed: 1, Self.reset: 2])
        let rest = after.excusing(cut)
        #expect(rest.lost == 2)
        #expect(rest.failures == [Self.closed: 1, Self.refused: 1])
    }

    @Test func `no more than the process can have had counts for it`() {
        let after = self.report(lost: 6, [Self.closed: 3, Self.reset: 3])
        let cut = after.cut(since: LoadReport(), atMost: 4)
        #expect(cut.values.reduce(0, +) == 4)
        let rest = after.excusing(cut)
        #expect(rest.lost == 2 && rest.failures.values.reduce(0, +) == 2)
    }

    @Test func `a connection that could not be made is always lost`() {
        let after = self.report(lost: 3, [Self.refused: 3])
        #expect(after.cut(since: LoadReport(), atMost: 8) == [:])
    }
}
#endif  // NIO

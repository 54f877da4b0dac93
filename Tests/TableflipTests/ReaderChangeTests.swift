// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import Testing

@testable import Tableflip

@Suite(.timeLimit(.minutes(5))) struct ReaderChangeTests {
    /// Asked without a task it answers when the test says so.
    private final class PromptFake: PromptReader {
        typealias Answer = @Sendable ((any Error)?) -> Void

        let asked = Mutex<[(what: String, answer: Answer?)]>([])

        func pause(then answer: @escaping Answer) { self.asked.withLock { $0.append(("pause", answer)) } }
        func resume(then answer: @escaping Answer) { self.asked.withLock { $0.append(("resume", answer)) } }
        func pause() async throws { self.asked.withLock { $0.append(("pause in a task", nil)) } }
        func resume() async throws { self.asked.withLock { $0.append(("resume in a task", nil)) } }

        var questions: [String] { self.asked.withLock { $0.map(\.what) } }
        func answer(_ error: (any Error)?) { self.asked.withLock { $0.last?.answer }?(error) }
    }

    private final class Answers: Sendable {
        private let all = Mutex<[UpgradeError?]>([])

        var codes: [UpgradeError.Code?] { self.all.withLock { $0.map { $0?.code } } }
        func add(_ answer: UpgradeError?) { self.all.withLock { $0.append(answer) } }
    }

    private let registry = ReaderRegistry()
    private let answers = Answers()

    @Test(arguments: [
        (ReaderChange.Kind.pause, "pause", UpgradeError.Code.pauseFailed), (.resume, "resume", .resumeFailed),
    ])
    func `readers that need no task are asked on the spot, and the last of them brings the first failure`(
        _ kind: ReaderChange.Kind, _ question: String, _ code: UpgradeError.Code
    ) {
        let (one, two) = (PromptFake(), PromptFake())
        #expect(!self.registry.add(one))
        #expect(!self.registry.add(two))
        let task = ReaderChange(kind).make(of: self.registry.call()) { [answers] in answers.add($0) }
        #expect(task == nil)
        #expect(one.questions == [question] && two.questions == [question])
        two.answer(Unwilling())
        #expect(self.answers.codes == [])
        one.answer(nil)
        #expect(self.answers.codes == [code])
    }

    @Test func `where one reader needs a task all are asked in tasks`() async throws {
        let (prompt, slow) = (PromptFake(), FakeReader())
        #expect(!self.registry.add(prompt))
        #expect(!self.registry.add(slow))
        slow.script { $0.pause = { throw Unwilling() } }
        await ReaderChange(.pause).make(of: self.registry.call()) { [answers] in answers.add($0) }?.value
        #expect(prompt.questions == ["pause in a task"])
        #expect(self.answers.codes == [.pauseFailed])
    }

    @Test(arguments: [ReaderChange.Kind.pause, .resume])
    func `a change that was withdrawn before it began is not made`(_ kind: ReaderChange.Kind) async throws {
        let (reader, mayBegin) = (FakeReader(), Latch<Void>())
        #expect(!self.registry.add(reader))
        var change = ReaderChange(kind)
        change.before = { _ = await Task { await mayBegin.wait() }.value }
        let task = change.make(of: self.registry.call()) { [answers] in answers.add($0) }
        task?.cancel()
        mayBegin.set(())
        await task?.value
        #expect(reader.journal.all.isEmpty)
        #expect(self.answers.codes == [kind == .pause ? .pauseFailed : .resumeFailed])
    }

    @Test func `what comes before a change and after it needs a task`() async throws {
        let prompt = PromptFake()
        #expect(!self.registry.add(prompt))
        var change = ReaderChange(.resume)
        change.before = { #expect(prompt.questions == []) }
        change.after = { #expect(prompt.questions == ["resume in a task"]) }
        await change.make(of: self.registry.call()) { [answers] in answers.add($0) }?.value
        #expect(self.answers.codes == [nil])
    }

    @Test func `whoever comes after a call is late, and called once alone`() {
        let (one, late) = (PromptFake(), FakeReader())
        #expect(!self.registry.add(one))
        self.registry.seal()
        _ = self.registry.call()
        #expect(self.registry.callNewcomers().all.isEmpty)
        #expect(self.registry.add(late))
        let newcomers = self.registry.callNewcomers()
        #expect(newcomers.all.count == 1 && newcomers.prompt == nil)
        #expect(self.registry.callNewcomers().all.isEmpty)
        #expect(self.registry.call().all.count == 2)
    }
}

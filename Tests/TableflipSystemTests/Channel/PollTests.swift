// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

@Suite(.timeLimit(.minutes(5))) struct PollTests {
    @Test func `only those that have something to look at are named`() throws {
        let one = try WakeUp()
        let two = try WakeUp()
        let three = try WakeUp()
        one.signal()
        three.signal()
        var poll = Poll<Int>()
        poll.add(1, one.descriptor, Poll<Int>.readable)
        poll.add(2, two.descriptor, Poll<Int>.readable)
        poll.add(3, three.descriptor, Poll<Int>.readable)
        #expect(poll.wait(nil) == [1, 3])
        one.clear()
        #expect(poll.wait(.seconds(60)) == [3])
    }

    @Test func `an end is something to look at`() throws {
        let tracer = try Tracer()
        #expect(tracer.isOpenSomewhere)
        tracer.letGo()
        #expect(tracer.isClosedEverywhere)
    }

    @Test func `a time that is over ends the wait with nothing`() throws {
        let quiet = try WakeUp()
        var poll = Poll<Int>()
        poll.add(1, quiet.descriptor, Poll<Int>.readable)
        #expect(poll.wait(.zero).isEmpty)
        let begin = ContinuousClock.now
        // Rounded up: a deadline that is half a millisecond away must not make the loop spin until then.
        #expect(poll.wait(.microseconds(20_500)).isEmpty)
        #expect(begin.duration(to: .now) >= .milliseconds(20))
    }

    @Test(
        arguments: [
            (.zero, 0), (.milliseconds(1500), 1500), (.microseconds(250), 0.25), (.seconds(86_400), 86_400_000),
            (.nanoseconds(-1_500_000), -1.5),
        ] as [(Duration, Double)]
    )
    func `a duration is told in milliseconds`(_ duration: Duration, _ milliseconds: Double) {
        #expect(abs(duration.inMilliseconds - milliseconds) < 1e-9)
    }
}

//! The network between machines: directed links that lose, repeat, delay, reorder and are cut.
//!
//! Decides only when (and whether) a message arrives; who may hear it is the world's business.
//! Reordering comes from each message drawing its own delay.

use crate::clock::{MS, TrueTime};
use crate::rng::Rng;

/// Index of a machine.
pub(crate) type Place = usize;

/// How a link behaves where it is not cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Lost messages, per mille.
    pub(crate) loss: u64,
    /// Repeated messages, per mille.
    pub(crate) repeat: u64,
    /// Least delay.
    pub(crate) delay_min: TrueTime,
    /// Greatest delay.
    pub(crate) delay_max: TrueTime,
}

impl Weather {
    /// A switched local network on a good day.
    pub(crate) const FAIR: Weather = Weather {
        loss: 0,
        repeat: 0,
        delay_min: MS / 10,
        delay_max: MS,
    };
}

/// All links.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    places: usize,
    /// How many faults cut the link `from * places + to`.
    cuts: Vec<u32>,
    /// How many faults keep the agent of a machine from every stream; its datagrams pass.
    stream_cuts: Vec<u32>,
    /// Management links, machine to BMC, likewise.
    management_cuts: Vec<u32>,
    /// A link with a full queue: what passes it comes so much later.
    queued: Option<(Place, Place, TrueTime)>,
    weather: Weather,
}

impl Net {
    /// Whole, in fair weather.
    pub(crate) fn whole(places: usize) -> Net {
        Net {
            places,
            cuts: vec![0; places * places],
            stream_cuts: vec![0; places],
            management_cuts: vec![0; places * places],
            queued: None,
            weather: Weather::FAIR,
        }
    }

    /// What goes from one place to another waits in a queue, or no more.
    pub(crate) fn queue(&mut self, queued: Option<(Place, Place, TrueTime)>) {
        self.queued = queued;
    }

    /// One more fault cuts the link.
    pub(crate) fn cut(&mut self, from: Place, to: Place) {
        self.cuts[from * self.places + to] += 1;
    }

    /// One fault less cuts the link.
    pub(crate) fn join(&mut self, from: Place, to: Place) {
        let cuts = &mut self.cuts[from * self.places + to];
        *cuts = cuts.saturating_sub(1);
    }

    /// Whether nothing that `from` sends reaches any other machine.
    pub(crate) fn is_cut_off(&self, from: Place) -> bool {
        (0..self.places)
            .filter(|to| *to != from)
            .all(|to| self.cuts[from * self.places + to] > 0)
    }

    /// One more fault keeps the agent of this machine from every stream.
    pub(crate) fn cut_streams(&mut self, place: Place) {
        self.stream_cuts[place] += 1;
    }

    /// One fault less does.
    pub(crate) fn join_streams(&mut self, place: Place) {
        let cuts = &mut self.stream_cuts[place];
        *cuts = cuts.saturating_sub(1);
    }

    /// Whether nothing cuts the links between two machines, in both directions.
    pub(crate) fn joins(&self, one: Place, other: Place) -> bool {
        let cut = |from, to| self.cuts[from * self.places + to] > 0;
        one == other || !(cut(one, other) || cut(other, one))
    }

    /// Whether the agent of this machine can have a stream, also to the coordinator beside it.
    pub(crate) fn streams(&self, place: Place) -> bool {
        self.stream_cuts[place] == 0
    }

    /// One more fault keeps `from` from the BMC of `to`.
    pub(crate) fn cut_management(&mut self, from: Place, to: Place) {
        self.management_cuts[from * self.places + to] += 1;
    }

    /// One fault less does.
    pub(crate) fn join_management(&mut self, from: Place, to: Place) {
        let cuts = &mut self.management_cuts[from * self.places + to];
        *cuts = cuts.saturating_sub(1);
    }

    /// Whether `from` reaches the BMC of `to`.
    pub(crate) fn manages(&self, from: Place, to: Place) -> bool {
        self.management_cuts[from * self.places + to] == 0
    }

    /// Sets the weather on every link.
    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Whole again, in fair weather.
    pub(crate) fn heal(&mut self) {
        *self = Net::whole(self.places);
    }

    /// The delays after which copies of one message arrive: none, one or two.
    pub(crate) fn carry(&self, rng: &mut Rng, from: Place, to: Place) -> [Option<TrueTime>; 2] {
        if from == to {
            return [Some(MS / 50), None];
        }
        if self.cuts[from * self.places + to] > 0 || rng.chance(self.weather.loss) {
            return [None, None];
        }
        let weather = self.weather;
        let queued = match self.queued {
            Some((start, end, queued)) if (start, end) == (from, to) => queued,
            Some(_) | None => 0,
        };
        let delay = |rng: &mut Rng| queued + rng.range(weather.delay_min, weather.delay_max + 1);
        let first = delay(rng);
        let second = rng.chance(weather.repeat).then(|| delay(rng));
        [Some(first), second]
    }
}

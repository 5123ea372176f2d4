//! What tokens cost.

use crate::{NanoUsd, TokenUsage, Tokens};

/// The greatest price taken: a million dollars per million tokens. More is a misplaced decimal point.
pub const MAX_PRICE_PER_MILLION: NanoUsd = NanoUsd(1_000_000 * NanoUsd::PER_USD);

/// Tokens in the unit in which providers publish prices.
const MILLION: u64 = 1_000_000;

/// The prices of one candidate, per million tokens. A candidate whose prices are not known has none of these
/// (`Option<Pricing>`): unknown is never zero.
///
/// ```
/// use waypost_core::{NanoUsd, Pricing, TokenUsage, Tokens};
///
/// let gpt_4o = Pricing::per_million("2.50".parse()?, "10.00".parse()?)?.cached_input("1.25".parse()?)?;
/// let usage = TokenUsage { prompt: Tokens(1_000), cached: Tokens(400), completion: Tokens(200) };
/// // 600 × $2.50 + 400 × $1.25 + 200 × $10.00, per million
/// assert_eq!(gpt_4o.cost(usage), "0.004".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pricing {
    rates: Rates,
    long_context: Option<LongContext>,
}

/// Prices per million tokens of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rates {
    input: NanoUsd,
    output: NanoUsd,
    cached_input: Option<NanoUsd>,
}

/// The step above which a prompt as a whole is dearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LongContext {
    above: Tokens,
    rates: Rates,
}

/// A price above [`MAX_PRICE_PER_MILLION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a price of {price} per million tokens is more than {MAX_PRICE_PER_MILLION}")]
pub struct PriceError {
    price: NanoUsd,
}

impl Pricing {
    /// Prices per million tokens of input and of output.
    ///
    /// # Errors
    ///
    /// [`PriceError`] for a price above [`MAX_PRICE_PER_MILLION`].
    pub fn per_million(input: NanoUsd, output: NanoUsd) -> Result<Self, PriceError> {
        let rates = Rates { input: checked(input)?, output: checked(output)?, cached_input: None };
        Ok(Self { rates, long_context: None })
    }

    /// The price per million of prompt tokens that the provider read from its cache. Default: the input price.
    ///
    /// # Errors
    ///
    /// [`PriceError`] for a price above [`MAX_PRICE_PER_MILLION`].
    pub fn cached_input(mut self, price: NanoUsd) -> Result<Self, PriceError> {
        self.rates.cached_input = Some(checked(price)?);
        Ok(self)
    }

    /// The prices for requests whose prompt has more than `above` tokens, for the whole of such a request. Default:
    /// no step.
    ///
    /// # Errors
    ///
    /// [`PriceError`] for a price above [`MAX_PRICE_PER_MILLION`].
    pub fn long_context(
        mut self,
        above: Tokens,
        input: NanoUsd,
        output: NanoUsd,
        cached_input: Option<NanoUsd>,
    ) -> Result<Self, PriceError> {
        let cached_input = cached_input.map(checked).transpose()?;
        let rates = Rates { input: checked(input)?, output: checked(output)?, cached_input };
        self.long_context = Some(LongContext { above, rates });
        Ok(self)
    }

    /// What a usage costs, rounded up to the next nano-dollar. Saturates at [`NanoUsd::MAX`].
    #[inline]
    pub fn cost(&self, usage: TokenUsage) -> NanoUsd {
        self.rates_for(usage.prompt).cost(usage)
    }

    /// Prices that are nowhere below either's: a usage costs at least as much.
    pub(crate) fn at_least(&self, other: &Self) -> Self {
        let all = [
            Some(self.rates),
            Some(other.rates),
            self.long_context.map(|s| s.rates),
            other.long_context.map(|s| s.rates),
        ];
        let all = || all.iter().flatten();
        let cached = |rates: &Rates| rates.cached_input.unwrap_or(rates.input);
        let rates = Rates {
            input: all().map(|rates| rates.input).max().unwrap_or_default(),
            output: all().map(|rates| rates.output).max().unwrap_or_default(),
            cached_input: all().map(cached).max(),
        };
        Self { rates, long_context: None }
    }

    #[inline]
    fn rates_for(&self, prompt: Tokens) -> &Rates {
        match &self.long_context {
            Some(step) if prompt > step.above => &step.rates,
            _ => &self.rates,
        }
    }
}

impl Rates {
    fn cost(&self, usage: TokenUsage) -> NanoUsd {
        let cached = usage.cached.min(usage.prompt);
        let fresh = usage.prompt.saturating_sub(cached);
        let terms = [
            (fresh, self.input),
            (cached, self.cached_input.unwrap_or(self.input)),
            (usage.completion, self.output),
        ];
        let exact = terms.iter().try_fold(0_u64, |sum, (tokens, price)| {
            tokens.0.checked_mul(price.0).and_then(|term| sum.checked_add(term))
        });
        match exact {
            Some(sum) => NanoUsd(sum.div_ceil(MILLION)),
            None => wide_cost(&terms),
        }
    }
}

/// The same sum in 128 bits, for amounts that do not fit 64.
#[cold]
fn wide_cost(terms: &[(Tokens, NanoUsd); 3]) -> NanoUsd {
    let sum: u128 = terms.iter().map(|(tokens, price)| u128::from(tokens.0) * u128::from(price.0)).sum();
    NanoUsd(u64::try_from(sum.div_ceil(u128::from(MILLION))).unwrap_or(u64::MAX))
}

fn checked(price: NanoUsd) -> Result<NanoUsd, PriceError> {
    if price > MAX_PRICE_PER_MILLION { Err(PriceError { price }) } else { Ok(price) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd(text: &str) -> NanoUsd {
        text.parse().unwrap()
    }

    #[test]
    fn a_long_prompt_is_dearer_as_a_whole() {
        let pricing = Pricing::per_million(usd("1"), usd("2")).unwrap();
        let pricing = pricing.long_context(Tokens(1_000), usd("10"), usd("20"), None).unwrap();
        let cost = |prompt| pricing.cost(TokenUsage::new(Tokens(prompt), Tokens(0)));
        assert_eq!(cost(1_000), usd("0.001"));
        assert_eq!(cost(1_001), usd("0.01001"));
    }

    #[test]
    fn refuses_a_price_that_must_be_a_slip() {
        assert!(Pricing::per_million(NanoUsd::MAX, NanoUsd::ZERO).is_err());
    }

    proptest! {
        #[test]
        fn a_bound_of_two_prices_is_below_neither(
            prices in prop::array::uniform8(0..1_000_000_u64), steps in prop::array::uniform2(0..10_000_u64),
            prompt in 0..20_000_u64, cached in 0..20_000_u64, completion in 0..20_000_u64,
        ) {
            let pricing = |p: &[u64], step| {
                let pricing = Pricing::per_million(NanoUsd(p[0]), NanoUsd(p[1])).unwrap();
                let pricing = pricing.cached_input(NanoUsd(p[2])).unwrap();
                pricing.long_context(Tokens(step), NanoUsd(p[3]), NanoUsd(p[0]), None).unwrap()
            };
            let (a, b) = (pricing(&prices[..4], steps[0]), pricing(&prices[4..], steps[1]));
            let usage = TokenUsage { prompt: Tokens(prompt), cached: Tokens(cached), completion: Tokens(completion) };
            prop_assert!(a.at_least(&b).cost(usage) >= a.cost(usage).max(b.cost(usage)));
        }

        /// The oracle is the definition in 128-bit arithmetic.
        #[test]
        fn cost_is_the_exact_sum_rounded_up(
            prompt in 0..u64::MAX, cached: u64, completion in 0..u64::MAX,
            input in 0..=MAX_PRICE_PER_MILLION.0, output in 0..=MAX_PRICE_PER_MILLION.0,
            cache_price in 0..=MAX_PRICE_PER_MILLION.0,
        ) {
            let pricing = Pricing::per_million(NanoUsd(input), NanoUsd(output)).unwrap();
            let pricing = pricing.cached_input(NanoUsd(cache_price)).unwrap();
            let usage = TokenUsage { prompt: Tokens(prompt), cached: Tokens(cached), completion: Tokens(completion) };
            let cached = cached.min(prompt);
            let sum = u128::from(prompt - cached) * u128::from(input)
                + u128::from(cached) * u128::from(cache_price)
                + u128::from(completion) * u128::from(output);
            let expected = u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX);
            prop_assert_eq!(pricing.cost(usage), NanoUsd(expected));
        }
    }
}
